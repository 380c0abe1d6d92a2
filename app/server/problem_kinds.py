"""Every kind of problem that the service answers with (RFC 9457, problem types)."""
# size: it is one table

from dataclasses import dataclass

from workers.formats import SOURCE_NAMES

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem.

    `meaning` and `remedy` are the paragraphs of its page. `guard` is the name of the guard that refused the
    request, for the kinds that are refusals of one.
    `type_uri` is the problem type that IANA has registered for it (RFC 9457, section 4.2), if there is one.
    """

    slug: str
    status: int
    title: str
    meaning: str
    remedy: str
    guard: str | None = None
    type_uri: str | None = None

    @property
    def page(self) -> str:
        """The path of the page that explains this kind."""
        return f"/problems/{self.slug}"


_WAIT = "Wait for the seconds that Retry-After names, then send the same request again."

KINDS: dict[str, Kind] = {
    kind.slug: kind
    for kind in (
        Kind(
            "rate",
            429,
            "Too many requests",
            "Each client has a bucket of tokens that refills at a steady rate. Every upload takes a token, "
            "even one that is then refused, and this client's bucket is empty.",
            _WAIT + " GET /v1/quota tells what is left without spending anything.",
            guard="rate",
            type_uri=QUOTA_EXCEEDED,
        ),
        Kind(
            "share",
            429,
            "Too many uploads at once",
            "This client already has as many uploads on their way in or waiting as one client may have, so "
            "that one client cannot fill the queue for all others.",
            _WAIT + " By then the next of the waiting uploads should have left the queue.",
            guard="share",
            type_uri=QUOTA_EXCEEDED,
        ),
        Kind(
            "queue",
            503,
            "The queue is full",
            "More uploads wait than the workers can process in good time. Refusing now, before the body is "
            "read, keeps the wait of those already accepted short.",
            _WAIT + " The time is worked out from how fast the queue drains.",
            guard="queue",
            type_uri=REDUCED_CAPACITY,
        ),
        Kind(
            "starting",
            503,
            "Starting",
            "The service was started just now and takes up first what an earlier run left. It serves images.",
            _WAIT,
            guard="starting",
            type_uri=REDUCED_CAPACITY,
        ),
        Kind(
            "draining",
            503,
            "Shutting down",
            "The service is being stopped or replaced: it finishes accepted jobs and accepts no more.",
            _WAIT,
            guard="draining",
            type_uri=REDUCED_CAPACITY,
        ),
        Kind(
            "breaker",
            503,
            "A part of the service is failing",
            "A part that is needed keeps failing, so uploads are refused at once and not left to fail.",
            _WAIT + " That is when the failing part is tried again; the member `breaker` names it.",
            guard="breaker",
            type_uri=REDUCED_CAPACITY,
        ),
        Kind(
            "streams",
            503,
            "Too many streams",
            "Waiting requests and event streams hold a connection open, so their number is bounded, in total "
            "and for each client.",
            "Close streams that are no longer needed, or ask for GET /v1/images/{id} without waiting.",
            guard="streams",
            type_uri=REDUCED_CAPACITY,
        ),
        Kind(
            "repeats",
            503,
            "Too many repeats at once",
            "An upload that is sent again under its Idempotency-Key is read only to compare it with the "
            "first one, and only a few are read at the same time.",
            _WAIT,
            guard="repeats",
            type_uri=REDUCED_CAPACITY,
        ),
        Kind(
            "not-serving",
            503,
            "Not ready for traffic",
            "The service is starting or draining, a part of it fails, or its queue has long been full.",
            "Send traffic to another replica until this one is ready.",
            type_uri=REDUCED_CAPACITY,
        ),
        Kind(
            "disk",
            507,
            "The store is full",
            "The stored images have reached the limit set for them, or a disk, of the store or of a "
            "cluster's queue, has no room left.",
            "Try again later: images are removed when their retention is over, or when they are deleted.",
            guard="disk",
        ),
        Kind(
            "bad-request",
            400,
            "Bad request",
            "The request is malformed, or asks for something that does not exist.",
            "The detail names what is wrong. The same request will fail again.",
        ),
        Kind(
            "malformed-multipart",
            400,
            "Malformed form data",
            "The body is not well-formed multipart/form-data: a boundary, a part header or the end is wrong.",
            "Let the HTTP client library build the form, and do not set the Content-Type header yourself.",
        ),
        Kind(
            "no-file",
            400,
            "No file",
            "The form holds no file, or the file has no bytes.",
            "Send one image as a file part of the form (curl -F file=@photo.jpg), or as the raw body.",
        ),
        Kind(
            "unknown-variant",
            400,
            "Unknown variant",
            "The request asks for a variant that this service does not make.",
            "Ask for some of the names that the detail lists, or leave the parameter out to get all.",
        ),
        Kind(
            "preflight",
            400,
            "Not allowed across origins",
            "A page of another origin asks whether it may send a request, and this origin, method or header "
            "is not one of those that this service allows.",
            "The operator sets the origins (CORS_ORIGINS). The detail names what is not allowed.",
        ),
        Kind(
            "unauthorized",
            401,
            "Delete token needed",
            "Only the holder of an image's delete token may delete it.",
            "Send Authorization: Bearer with the delete_token of the answer to the upload.",
        ),
        Kind(
            "forbidden",
            403,
            "Wrong delete token",
            "The token is not the one of this image.",
            "Send the delete_token of the answer to this very upload.",
        ),
        Kind(
            "ticket",
            401,
            "Ticket needed",
            "Uploads to this service need a ticket, a signed token, and this one has none, or one that is "
            "malformed, forged, expired or used up. The detail says which.",
            "Get a new ticket from whoever runs this service, and send it as Authorization: Bearer.",
        ),
        Kind(
            "beyond-ticket",
            403,
            "Beyond the ticket",
            "The ticket is good, and allows less than this upload asks for: a smaller file, other variants "
            "or another reference.",
            "Ask for what the detail says that it allows, or get another ticket.",
        ),
        Kind(
            "foreign-origin",
            403,
            "Only from the page itself",
            "This belongs to the demonstration page of this server, and the request does not come from it.",
            "Use the button on the page, at an address of this server, at localhost, or at a host of the "
            "setting ALLOWED_HOSTS. If you did, a proxy in between changes the Host header.",
        ),
        Kind(
            "act-running",
            409,
            "An act is being played",
            "The demonstration plays one act at a time, so that the load it makes stays bounded.",
            "Wait until the act has ended, or stop it.",
        ),
        Kind(
            "repeat-too-soon",
            409,
            "The first upload is still on its way in",
            "An upload with the same Idempotency-Key, or single-use ticket, is being received just now, so "
            "there is no job yet to answer this one with.",
            "Send it again, with the same key, when the other has been answered or has failed.",
        ),
        Kind(
            "repeat-differs",
            422,
            "Another upload has this key",
            "The Idempotency-Key was used before, with another file, other variants or another reference.",
            "Use a new key for each upload, and an old one only to send the same upload again.",
        ),
        Kind(
            "not-found",
            404,
            "Not found",
            "There is nothing here, or no longer: images are removed when their retention is over.",
            "Check the address.",
        ),
        Kind(
            "not-ready",
            404,
            "Not made yet",
            "The image is known, but this variant of it has not been made yet.",
            "Ask again after the seconds that Retry-After names, or follow the event stream at links.events.",
        ),
        Kind(
            "under-way",
            409,
            "The image is still being made",
            "More variants can be made of an image when those that were asked for before are made.",
            "Ask again after the seconds that Retry-After names, or follow the event stream at links.events.",
        ),
        Kind(
            "not-acceptable",
            406,
            "No answer of an accepted kind",
            "The Accept field allows no answer that an upload can have: the job's document, or the picture "
            "itself where one variant is asked for.",
            "Accept application/json, or image/* together with ?variants= and the name of one variant.",
        ),
        Kind(
            "method-not-allowed",
            405,
            "Method not allowed",
            "This address exists but does not support this method.",
            "The Allow header lists the methods that work.",
        ),
        Kind(
            "misdirected",
            421,
            "Not served under this name",
            "The host that the request names is not one that this server answers to.",
            "Use another address of this server. The setting ALLOWED_HOSTS lists those that it answers to.",
        ),
        Kind(
            "upload-too-slow",
            408,
            "Upload too slow",
            "The upload took longer than allowed, or fell below the minimum rate. A slow upload "
            "occupies a receiving slot that others need.",
            "Send it again on a faster link, or a smaller version of the photo.",
        ),
        Kind(
            "request-timeout",
            408,
            "Request headers too slow",
            "The request line and headers did not arrive in time.",
            "Send the whole header at once.",
        ),
        Kind(
            "precondition-failed",
            412,
            "Another version is here",
            "The request wants a certain version (If-Match), and what is here is not that one.",
            "Ask without If-Match, or with the ETag of the last answer.",
        ),
        Kind(
            "too-large",
            413,
            "File too large",
            "The file is larger than this service takes.",
            "Send a file of at most Upload-Limit: max-size bytes.",
        ),
        Kind(
            "uri-too-long",
            414,
            "Address too long",
            "The path and query of the request are longer than 8 KiB.",
            "Leave out of the query what it does not need; the only parameter of an upload is variants.",
        ),
        Kind(
            "unsupported-media-type",
            415,
            "Not an image that is accepted",
            "The first bytes of the file are not those of an accepted image format, or the Content-Type "
            "of the request is not one that an upload may have.",
            f"Accepted are {SOURCE_NAMES}, as the file of a form (multipart/form-data) or as the body "
            "itself, with its own type, application/octet-stream or none. Save others as one of these.",
        ),
        Kind(
            "unsupported-coding",
            415,
            "Content-Encoding not accepted",
            "The body was encoded for its transfer (Content-Encoding), such as by gzip. None is undone here: "
            "photos are compressed already.",
            "Send the photo as it is, without the field Content-Encoding.",
        ),
        Kind(
            "range-not-satisfiable",
            416,
            "Range not satisfiable",
            "The range lies past the end of the image.",
            "The Content-Range header tells the size of the image in bytes.",
        ),
        Kind(
            "undecodable",
            422,
            "Image cannot be decoded",
            "The file begins like an image but is damaged, or is of a kind that cannot be decoded.",
            "Open the image and save it again, then send that.",
        ),
        Kind(
            "too-many-pixels",
            422,
            "Image has too many pixels",
            "Decoded, the image would be larger than this service allows.",
            "Send a smaller version of the image.",
        ),
        Kind(
            "too-slow",
            422,
            "Image took too long",
            "Decoding and resizing the image took longer than one job may take.",
            "Send a smaller version of the image, or save it again as a JPEG.",
        ),
        Kind(
            "too-much-memory",
            422,
            "Image needs too much memory",
            "Decoding the image needs more memory than one job may use.",
            "Send a smaller version of the image, or save it again as a JPEG.",
        ),
        Kind(
            "headers-too-large",
            431,
            "Request headers too large",
            "The request line and headers together are larger than 32 KiB.",
            "Send fewer or shorter headers and cookies.",
        ),
        Kind(
            "unknown-coding",
            501,
            "Transfer coding not supported",
            "The body is sent in a transfer coding other than chunked, such as gzip.",
            "Send the body as it is, with a Content-Length or in chunks.",
        ),
        Kind(
            "worker-died",
            500,
            "Worker died",
            "The process that worked on this image died, and so did the one that tried it again.",
            "Send the image again; if it fails again, save it again first.",
        ),
        Kind(
            "internal",
            500,
            "Internal error",
            "Something went wrong inside the service. It has been logged.",
            "Try again later.",
        ),
    )
}
