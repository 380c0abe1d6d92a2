"""The compose files hand every setting on to the containers; what each means is tested with containers."""

import re
from pathlib import Path

import pytest
import yaml

from app.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
FIXED = {
    "docker-compose.yml": {"HOST", "PORT", "STORE_URL"},
    "docker-compose.cluster.yml": {"HOST", "PORT", "STORE_URL", "ENGINE_URL", "TRUSTED_PROXIES", "DEMO"},
}
"""Settings that are those of the containers, whatever the shell says."""


@pytest.mark.parametrize("file", FIXED)
def test_every_setting_of_the_shell_reaches_the_container(file: str) -> None:
    """It stands there without a value, or with one that the shell's replaces."""
    text = (ROOT / file).read_text()
    names = {name.upper() for name in Settings.model_fields} - FIXED[file]
    handed_on = set(
        re.findall(r"^ +SPILLWAY_([A-Z0-9_]+):(?: \$\{SPILLWAY_\1:-[^}]*\}+)?(?: #.*)?$", text, re.MULTILINE)
    )
    assert names - handed_on == set()


def test_an_override_in_the_documentation_names_what_there_is() -> None:
    """Its settings exist, and the service is the one of the compose file."""
    (override,) = re.findall(r"```yaml\n(.+?)\n```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    services = yaml.safe_load(override)["services"]
    assert services.keys() <= yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].keys()
    names = {f"SPILLWAY_{name.upper()}" for name in Settings.model_fields}
    assert services["spillway"]["environment"].keys() <= names


def test_nothing_is_left_behind_by_a_stampede() -> None:
    """`docker compose down` forgets the containers of a profile, whose network is gone then.

    So only the receiver of webhooks has one, which is turned on by a variable that `down` reads as well, and
    without which the service sends none; and what watches, whose `down` is documented with the profile.
    """
    texts = {file: (ROOT / file).read_text() for file in FIXED}
    assert {file: text.count("profiles:") for file, text in texts.items()} == {
        "docker-compose.yml": 3,
        "docker-compose.cluster.yml": 0,
    }
    text = texts["docker-compose.yml"]
    assert "\n  webhook:\n    profiles: [webhook]\n" in text
    assert "${SPILLWAY_WEBHOOK_URL:-${COMPOSE_PROFILES:+http://webhook:9000/}}" in text
    (secret,) = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", text))
    load_settings(webhook_url="http://webhook:9000/", webhook_secret=secret)


def test_what_watches_finds_its_files_and_the_service() -> None:
    """Grafana and Prometheus cannot be run by the tests: what they are told names what there is."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    watch = {name: service for name, service in services.items() if service.get("profiles") == ["watch"]}
    assert watch.keys() == {"prometheus", "grafana"}
    mounted = {}
    for service in watch.values():
        for volume in service["volumes"]:
            source, target, mode = volume.split(":")
            assert (ROOT / source).is_file()
            assert mode == "ro"
            mounted[target] = (ROOT / source).read_text()
    scraped = yaml.safe_load(mounted["/etc/prometheus/prometheus.yml"])
    assert f"/etc/prometheus/{scraped['rule_files'][0]}" in mounted
    assert scraped["scrape_configs"][0]["static_configs"][0]["targets"] == ["spillway:8000"]
    assert services["spillway"]["environment"]["SPILLWAY_PORT"] == "8000"
    (source,) = yaml.safe_load(mounted["/etc/grafana/provisioning/datasources/spillway.yml"])["datasources"]
    assert (source["url"], source["isDefault"]) == ("http://prometheus:9090", True)
    (found,) = yaml.safe_load(mounted["/etc/grafana/provisioning/dashboards/spillway.yml"])["providers"]
    assert f"{found['options']['path']}/spillway.json" in mounted
