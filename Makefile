# Needs Python 3.11 or newer and nothing else. Every target first creates or updates .venv from the hash-locked
# requirements, if it is not up to date. Another interpreter: make run PYTHON=/path/to/python3

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
AGAINST ?= HEAD
PYTHON ?=
export PYTHON

.PHONY: help doctor run test lint docs format bench bench-check screenshots recording fuzz soak hostile audit lock upgrade clean \
	dist try-dist sbom wheels image workflows notes release-dry-run environment environment-dev environment-docs environment-bench environment-release

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile

doctor: ## what this machine lacks, and what does not work without it
	@sh -c "$$choose_python; exec \"\$$python\" -m tools.doctor"

run: environment ## start the service; settings come from SPILLWAY_… or .env
	@exec $(BIN)/spillway serve $(ARGS)

# Four processes, because tests spend half of their time waiting; file by file, in the order of tests/conftest.py.
# They start the service a hundred times, so its bytecode is kept.
test: environment-dev ## all tests, or some: make test ARGS="tests/backpressure/test_token_bucket.py -k refill"
	@exec env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: environment-dev ## style, of the page's scripts too, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint --config oxlint.json app/web/static/js
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.locks

docs: environment-docs ## the documentation site, in build/site; fails if a link leads nowhere or anything is loaded from elsewhere
	@$(BIN)/python -m tools.site

format: environment-dev ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: environment-bench ## the figures of docs/benchmarks.md, on this machine
	@exec $(BIN)/python -m bench $(ARGS)

bench-check: environment-bench ## what has become slower since a commit: make bench-check AGAINST=HEAD~1
	@exec $(BIN)/python -m bench.check $(AGAINST) $(ARGS)

screenshots: environment-dev ## new pictures of the page for docs, with this machine's Chromium
	@exec $(BIN)/python -m tests.web.screenshots $(ARGS)

recording: environment-dev ## a new run of the crowd for docs/recording, which plays it without a server
	@exec $(BIN)/python -m tests.web.recording

fuzz: environment-dev ## 100 000 damaged images through the workers, as docs/fuzzing.md says; then the API's description
	@$(BIN)/python -m bench.fuzz $(ARGS)
	@exec $(BIN)/python -m bench.description

soak: environment-dev ## 200 kills under load and one at every step, as docs/reliability.md says
	@exec $(BIN)/python -m bench.soak $(ARGS)

hostile: environment-dev ## attacks on a server of its own beside an honest client, as docs/reliability.md says
	@exec $(BIN)/python -m bench.hostile $(ARGS)

audit: ## known vulnerabilities in the locked dependencies, by the database of PyPI
	@sh -c "$$choose_python; $$audit"

lock: ## write requirements*.txt for pyproject.toml, keeping versions that still satisfy it
	@sh -c "$$choose_python; $$find_uv; $$compile"

upgrade: ## write requirements*.txt for pyproject.toml with the newest versions
	@sh -c "$$choose_python; $$find_uv; $$compile" lock --upgrade

dist: environment-release ## the wheel and the source distribution, checked, in dist
	@sh -c "$$make_dist"

try-dist: ## install the wheel with the locked dependencies into an empty environment and try all it does
	@sh -c "$$choose_python; $$try_dist"

sbom: environment-release ## what is in that environment, as CycloneDX, in build/sbom.cdx.json
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
	    --output-format JSON --output-file build/sbom.cdx.json build/venv/bin/python
	@echo "build/sbom.cdx.json is written"

wheels: ## whether every locked dependency has a wheel for x86_64 and aarch64
	@sh -c "$$choose_python; $$find_uv; $$find_wheels"

image: ## build the container image and look for security updates that it lacks, where an engine is reachable
	@sh -c "$$make_image"

workflows: environment-release ## whether somebody could misuse .github/workflows
	@$(BIN)/zizmor --offline --quiet --min-severity medium .github

notes: ## the section of CHANGELOG.md for the version in pyproject.toml
	@sh -c "$$print_notes"

release-dry-run: lint workflows dist try-dist sbom wheels image ## all that .github/workflows/release.yml does before it publishes

clean: ## remove the environment and every cache
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@sh -c "$$choose_python; $$prepare" environment requirements.txt

environment-dev:
	@sh -c "$$choose_python; $$prepare" environment requirements-dev.txt requirements.txt

environment-bench:
	@sh -c "$$choose_python; $$prepare" environment requirements-bench.txt requirements-dev.txt requirements.txt

environment-docs:
	@sh -c "$$choose_python; $$prepare" environment requirements-docs.txt requirements.txt

environment-release:
	@sh -c "$$choose_python; $$prepare" environment requirements-release.txt requirements.txt

# Sets $python: PYTHON if given, else the first suitable interpreter. A name on PATH may be a launcher for a version
# that is not installed, so each one is run. Debian packages venv apart from python3.
define describe_python
import sys
if sys.version_info < (3, 11):
    print("%d.%d.%d" % sys.version_info[:3])
    sys.exit()
try:
    import ensurepip, venv
    print("suits")
except ImportError:
    print("no-venv")
endef
export describe_python

define choose_python
set -eu
python=
too_old=
no_venv=
for candidate in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    found=$$("$$candidate" -c "$$describe_python" 2>/dev/null) || continue
    case $$found in
        suits) python=$$candidate; break ;;
        no-venv) no_venv=$${no_venv:-$$candidate} ;;
        *) too_old="$$too_old $$candidate is $$found." ;;
    esac
done
if [ -z "$$python" ]; then
    if [ -n "$$no_venv" ]; then
        echo "$$no_venv cannot make virtual environments: its venv and ensurepip modules are missing." >&2
        echo "Install them (Debian, Ubuntu: apt install python3-venv), or name another: PYTHON=/path/to/python3" >&2
    else
        echo "Spillway needs Python 3.11 or newer; found none$${PYTHON:+ at PYTHON=$$PYTHON}.$$too_old" >&2
        echo "Install one, or name it: make run PYTHON=/path/to/python3" >&2
    fi
    exit 1
fi
endef
export choose_python

# Arguments: the lock file to install, then those that it includes. A stamp file holds the checksums of what was
# installed, so that neither clocks nor branches can mislead it. pyvenv.cfg says which Python created the environment
# and where: after a move, or with another Python, a new one is created.
define prepare
stamp_of() { echo "$$(cksum < "$$1") $$(cksum < pyproject.toml)"; }
installed() { [ "$$(cat "$(VENV)/$$1.installed" 2>/dev/null)" = "$$(stamp_of "$$1")" ]; }
if ! "$$python" - "$(VENV)" <<'END'
import sys
from pathlib import Path
venv = Path(sys.argv[1]).absolute()
try:
    lines = (venv / "pyvenv.cfg").read_text().splitlines()
except OSError:
    sys.exit(1)
made = dict(line.split(" = ", 1) for line in lines if " = " in line)
same_python = made.get("executable") == str(Path(sys.executable).resolve())
same_version = made.get("version") == "%d.%d.%d" % sys.version_info[:3]
same_place = made.get("command", "").endswith(f" {venv}")
sys.exit(not (same_python and same_version and same_place and (venv / "bin" / "pip").exists()))
END
then
    echo "Making $(VENV) with $$("$$python" --version)"
    "$$python" -m venv --clear "$(VENV)"
fi
installed "$$1" && exit
echo "Installing $$1 into $(VENV) (once, and when that file changes)"
pip() { PIP_USER=0 "$(BIN)/python" -m pip -qq --disable-pip-version-check --no-input "$$@"; }
# The lock files are complete, and pip does not know of the override in pyproject.toml.
pip install --no-deps --require-hashes --requirement "$$1"
pip install --no-deps --editable .
for lock in "$$@"; do stamp_of "$$lock" > "$(VENV)/$$lock.installed"; done
endef
export prepare

# In a temporary folder. A package that could not be looked up is a failure too, since nothing is known of it.
define audit
folder=$$(mktemp -d)
trap 'rm -rf "$$folder"' EXIT
"$$python" -m venv "$$folder"
"$$folder/bin/pip" install -qq --disable-pip-version-check pip-audit
for lock in requirements.txt requirements-dev.txt requirements-bench.txt requirements-docs.txt requirements-release.txt; do
    echo "$$lock"
    "$$folder/bin/pip-audit" --strict --require-hashes --disable-pip --progress-spinner off --requirement "$$lock"
done
endef
export audit

# With the locked tools, and with times of the last commit, so that the same commit makes the same files. A tag has to
# be that of the version.
define make_dist
set -eu
version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
if [ "$${GITHUB_REF_TYPE:-}" = tag ] && [ "$$GITHUB_REF_NAME" != "v$$version" ]; then
    echo "the tag $$GITHUB_REF_NAME is not v$$version, the version of pyproject.toml" >&2
    exit 1
fi
rm -rf dist
SOURCE_DATE_EPOCH=$$(git log -1 --pretty=%ct) "$(BIN)/python" -m build --no-isolation --outdir dist . >/dev/null
"$(BIN)/twine" check --strict dist/*
sha256sum dist/*
endef
export make_dist

define try_dist
rm -rf build/venv
"$$python" -m venv build/venv
pip() { PIP_USER=0 build/venv/bin/python -m pip -qq --disable-pip-version-check --no-input "$$@"; }
pip install --no-deps --require-hashes --requirement requirements.txt
pip install --no-deps --no-index dist/*.whl
pip check
build/venv/bin/python -m tools.licences
"$$python" -m tools.main_job "$$PWD/build/venv/bin/spillway"
endef
export try_dist

define find_wheels
for machine in x86_64 aarch64; do
    "$$uv" pip install --quiet --dry-run --no-deps --require-hashes --only-binary :all: --python-version 3.13 \
        --python-platform "$$machine-manylinux_2_28" --target build/none --requirement requirements.txt
    echo "every locked dependency has a wheel for $$machine"
done
endef
export find_wheels

# The packages of Python are looked up by `make audit`.
define make_image
set -eu
if ! docker version >/dev/null 2>&1; then
    echo "no container engine is reachable: no image was built"
    exit 0
fi
docker build --tag spillway:dry-run .
docker run --rm spillway:dry-run --version
updates=$$(docker run --rm --user 0 --entrypoint sh spillway:dry-run -c 'apt-get -qq update && apt-get -s dist-upgrade')
if echo "$$updates" | grep '^Inst'; then
    echo "the image lacks these updates of Debian" >&2
    exit 1
fi
echo "the image has every update of Debian"
endef
export make_image

define print_notes
version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
awk -v version="$$version" '/^## / { on = $$2 == version; found += on; next } on; END { exit !found }' CHANGELOG.md || {
    echo "CHANGELOG.md has no section for $$version" >&2
    exit 1
}
endef
export print_notes

# Sets $uv: the one on PATH, else one in a temporary folder.
define find_uv
uv=$$(command -v uv) || {
    folder=$$(mktemp -d)
    trap 'rm -rf "$$folder"' EXIT
    "$$python" -m venv "$$folder"
    "$$folder/bin/pip" install -qq --disable-pip-version-check uv
    uv=$$folder/bin/uv
}
endef
export find_uv

# The lock files contain neither addresses nor the command.
define compile
lock() { "$$uv" pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
    --python-version 3.11 "$$@" pyproject.toml; }
lock "$$@" --output-file requirements.txt
lock "$$@" --constraint requirements.txt --group dev --output-file requirements-dev.txt
lock "$$@" --constraint requirements-dev.txt --group dev --group bench --output-file requirements-bench.txt
lock "$$@" --constraint requirements-dev.txt --group docs --output-file requirements-docs.txt
lock "$$@" --constraint requirements-dev.txt --group release --output-file requirements-release.txt
endef
export compile
