"""A job's record in the store and its document in the API."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.schemas import JobDocument, job_document
from app.job import Job, JobStatus, MadeVariant, is_id, new_id
from app.server.links import FROM_ROOT
from tests.examples import examples

names = st.sampled_from(["large", "medium", "thumb", "a-b_c", "0", "x" * 32])
made = st.builds(
    MadeVariant,
    file=names,
    width=st.integers(1, 16_384),
    height=st.integers(1, 16_384),
    size=st.integers(0, 2**40),
    format=st.sampled_from(["jpeg", "webp", "avif", "png"]),
    digest=st.sampled_from(["0" * 64, "0123456789abcdef" * 4]),
)
moments = st.floats(0, 4e9)
jobs = st.builds(
    Job,
    id=st.sampled_from(["0" * 32, "0123456789abcdef" * 2]),
    created_at=moments,
    size=st.integers(0, 2**40),
    wanted=st.lists(names, max_size=4).map(tuple),
    status=st.sampled_from(JobStatus),
    finished_at=st.none() | moments,
    source=st.none() | st.just({"format": "jpeg", "width": 4000, "height": 3000}),
    made=st.dictionaries(names, made, max_size=3),
    deferred=st.lists(names, max_size=3).map(tuple),
    problem=st.none() | st.tuples(st.sampled_from(["undecodable", "too-slow", "no-such-kind"]), st.text()),
    deaths=st.integers(0, 2),
    completed_at=st.none() | moments,
    digest=st.none() | st.just("0123456789abcdef" * 4),
    name=st.none() | st.text(),
    reference=st.none() | st.text(),
    asked=st.none() | st.lists(names, max_size=2).map(tuple),
    original=st.booleans(),
    reopened=st.integers(0, 3),
)


def test_a_record_is_the_same_json_as_ever() -> None:
    """Other versions read the same stores, so neither its keys nor its strings change."""
    job = Job(
        "0123456789abcdef" * 2,
        1000.5,
        10,
        ("thumb=96",),
        status=JobStatus.DONE,
        finished_at=1001.0,
        source={"format": "png", "width": 20, "height": 10},
        made={"thumb": MadeVariant("thumb.jpg", 20, 10, 7, "jpeg", "00")},
        deferred=("large",),
        problem=("too-slow", "It took too long."),
        deaths=1,
    )
    assert job.to_record().decode() == (
        '{"version":1,"id":"0123456789abcdef0123456789abcdef","created_at":1000.5,"size":10,"wanted":["thumb=96"],'
        '"status":"done","finished_at":1001.0,"source":{"format":"png","width":20,"height":10},'
        '"made":{"thumb":{"file":"thumb.jpg","width":20,"height":10,"size":7,"format":"jpeg","digest":"00"}},'
        '"deferred":["large"],"blurhash":null,"problem":["too-slow","It took too long."],"deaths":1,'
        '"fingerprint":null}'
    )


def test_a_record_without_completion_is_of_an_earlier_version() -> None:
    """Its document says that it was completed when it was finished, unless variants are deferred."""
    job = Job(new_id(), 1000.0, 10, (), status=JobStatus.DONE, finished_at=1001.0)
    for deferred, is_completed in ((), True), (("large",), False):
        record = replace(job, deferred=deferred).to_record()
        assert b"completed_at" not in record
        document = job_document(Job.from_record(record), FROM_ROOT)
        assert document["finished_at"] == "1970-01-01T00:16:41.000Z"
        assert document["completed_at"] == (document["finished_at"] if is_completed else None)


@examples
@given(jobs)
def test_a_record_is_read_back_as_it_was(job: Job) -> None:
    """Every state of every job survives a restart."""
    assert Job.from_record(job.to_record()) == job


@examples
@given(jobs, st.data())
def test_a_damaged_record_is_an_error_of_one_kind(job: Job, data: st.DataObject) -> None:
    """A record cut at any byte raises ValueError and nothing else."""
    record = job.to_record()
    with pytest.raises(ValueError, match=r"."):
        Job.from_record(record[: data.draw(st.integers(0, len(record) - 1))])


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"id": "../../../etc/passwd"},
        {"id": 7},
        {"made": {"thumb": {"file": "thumb.jpg"}}},
        {"made": [1]},
        {"problem": ["undecodable"]},
        {"size": None},
        {"created_at": "yesterday"},
        {"wanted": 5},
        {"status": "waiting"},
    ],
)
def test_a_record_of_the_wrong_shape_is_refused(change: dict[str, Any]) -> None:
    """Another version, another id, or a field that is not what it should be."""
    record = json.loads(Job(new_id(), 1000.0, 10, ()).to_record()) | change
    with pytest.raises(ValueError, match=r"."):
        Job.from_record(json.dumps(record).encode())


@examples
@given(jobs, st.none() | moments, st.none() | st.integers(1, 100), st.none() | st.floats(0, 1000))
def test_every_document_is_what_the_api_page_says(
    job: Job, expires: float | None, position: int | None, wait: float | None
) -> None:
    """Its model in the OpenAPI document accepts every state of every job."""
    document = job_document(job, FROM_ROOT, expires, position, wait)
    JobDocument.model_validate(document)
    assert ("position" in document) == (job.status == JobStatus.QUEUED)
    assert ("problem" in document) == (job.problem is not None)
    assert all(each["url"] == f"/v1/images/{job.id}/{name}" for name, each in document["variants"].items())
    assert document["links"] == {"self": f"/v1/images/{job.id}", "events": f"/v1/images/{job.id}/events"}
    assert "delete_token" not in document


def test_a_document_names_the_largest_variant_that_is_made() -> None:
    """By its pixels, whatever the order; null while there is none."""
    made = {
        name: MadeVariant(f"{name}.jpg", side, side, 9, "jpeg", "00")
        for name, side in (("a", 20), ("b", 90), ("c", 50))
    }
    job = Job(new_id(), 1000.0, 10, (), made=made)
    assert job_document(job, FROM_ROOT)["url"] == f"/v1/images/{job.id}/b"
    assert job_document(replace(job, made={}), FROM_ROOT)["url"] is None


def test_ids_are_unguessable_and_nothing_else_is_one() -> None:
    """128 bits in lower-case hexadecimal."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(map(is_id, ids))
    some = ids.pop()
    for text in (
        "",
        some[:-1],
        some + "0",
        some.upper() + "A",
        "g" * 32,
        "٣" * 32,
        "../" + some[3:],
        some + "\n",
    ):
        assert not is_id(text)


def test_a_job_is_final_when_its_status_is_terminal_and_nothing_is_deferred() -> None:
    """A job that is done with variants deferred still needs its source."""
    job = Job(new_id(), 1000.0, 10, (), made={"thumb": MadeVariant("thumb.jpg", 1, 1, 7, "jpeg", "")})
    for status, final in (
        (JobStatus.QUEUED, False),
        (JobStatus.PROCESSING, False),
        (JobStatus.DONE, True),
        (JobStatus.FAILED, True),
        (JobStatus.CANCELLED, True),
    ):
        job.status = status
        assert job.is_final is final
    job.deferred = ("large",)
    assert not job.is_final
