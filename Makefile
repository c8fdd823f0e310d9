PYTHON ?= python3
POSTGRES ?= 18
DATA ?= .data
DO ?= --help
COUNT ?= 1000
JOBS ?= auto
ready = command -v $(PYTHON) >/dev/null || { echo "Error: $(PYTHON) is not there; Python 3.11 or newer is needed" >&2; exit 1; }; $(PYTHON) embedded/install.py
local = exec .venv/bin/python -m embedded.run --postgres $(POSTGRES) --data "$(DATA)"
lock = .venv/bin/uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# A file is run by one worker, which shares its fixtures; the long ones come first.
DIST ?= loadfile
parallel = -n $(JOBS) --dist $(DIST) --no-loadscope-reorder
# Shell scripts, by their first line.
shellcheck = if command -v shellcheck >/dev/null; then shellcheck $$(git grep -lE '^\#!.*sh$$'); else echo "left out: shellcheck is not installed (Debian: apt-get install shellcheck)"; fi
audit = .venv/bin/uv tool run -q pip-audit --strict --disable-pip --require-hashes --progress-spinner off
babel = .venv/bin/pybabel -q

.PHONY: help run demo flask upgrade test coverage test-stack test-production test-fault test-overload test-soak test-attack audit check words lock pin release restore bench screenshots
help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
run: ## serve on http://localhost:5000 with a private PostgreSQL and Redis (PORT=, POSTGRES=16, DATA=)
	@$(ready) && $(local)
demo: ## add 1,000 realistic users to the data of `make run` (COUNT=)
	@$(ready) && $(local) --demo $(COUNT)
flask: ## run a command on the data of `make run`: make flask DO="users create --role admin --email ada@example.com"
	@$(ready) && $(local) --flask $(DO)
upgrade: ## move the data of `make run` to another version of PostgreSQL (POSTGRES=18, DATA=)
	@$(ready) && $(local) --upgrade
check: ## lint, format, types, import rules, shell scripts, and whether the application can be imported
	@$(ready) && cd "$(CURDIR)" && .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports && .venv/bin/python -c "import app.factory" && $(shellcheck)
test: check ## check, then every test that needs no Docker, except test-fault, test-overload, test-soak and test-attack, in parallel (JOBS=4)
	@exec .venv/bin/python -m pytest -ra $(parallel) $(COVERAGE) $(addprefix tests/,fault browser embedded api unit $(addprefix journal/test_,checker.py checker_of_service.py schedule.py) soak/test_growth.py)
coverage: COVERAGE = --cov --cov-report=term
coverage: test ## make test, then how much of app/ ran in the processes of the tests
test-stack: JOBS = 2
test-stack: ## the tests of the compose stack, on a real engine
	@$(ready) && exec .venv/bin/python -m pytest -ra $(parallel) tests/stack
test-production: JOBS = 1
test-production: ## the tests of the overlays for production, on a real engine
	@$(ready) && exec .venv/bin/python -m pytest -ra $(parallel) tests/production
test-fault: MINUTES ?= 30
test-fault: ## break the parts of two hosts at random while clients keep a journal (MINUTES=0 is the short run, SEED=)
	@$(ready) && MINUTES=$(MINUTES) SEED="$(SEED)" exec .venv/bin/python -m pytest -ra -s tests/journal
test-overload: MINUTES ?= 2
test-overload: ## 50 times the connections that saturate a quarter of a core (MINUTES=0 is the short run)
	@$(ready) && MINUTES=$(MINUTES) exec .venv/bin/python -m pytest -ra -s tests/overload
test-soak: MINUTES ?= 120
test-soak: ## a steady load for two hours: nothing grows (MINUTES=0 is the short run, SEED=)
	@$(ready) && MINUTES=$(MINUTES) SEED="$(SEED)" exec .venv/bin/python -m pytest -ra -s tests/soak
test-attack: MINUTES ?= 30
# In a long run, tests of one file take long: idle workers take some of them.
test-attack: DIST = $(if $(filter 0,$(MINUTES)),loadfile,worksteal)
test-attack: ## attack the service: each role on each route, HTTP, races, fuzzing (MINUTES=0 is the short run, SEED=)
	@$(ready) && MINUTES=$(MINUTES) SEED="$(SEED)" exec .venv/bin/python -m pytest -ra $(parallel) tests/attack
restore: COMPOSE ?= docker compose
restore: ## restore a backup on a machine without data: the newest state, or that of a time (AT=2026-11-30T10:00:00Z)
	@! $(COMPOSE) ps -q db | grep -q . || { echo "The volume of the database is not empty: db runs. See docs/operations.md, Restore" >&2; exit 1; }
	@$(COMPOSE) rm -fs cache && exec $(COMPOSE) run --rm --build restore restore $(AT) $(if $(TIMELINE),--timeline $(TIMELINE))
audit: ## look for known vulnerabilities of the pinned packages; asks the package index
	@$(ready) && .venv/bin/python -m pip install -q uv && $(audit) -r app/requirements.txt -r requirements-dev.txt
bench: ## measure what the docs claim
	@$(ready) && for script in walk.py start.py auth.py observability.py growth.py "growth.py --grid" keystrokes.py speed.py; do .venv/bin/python bench/$$script || exit 1; done
words: ## gather the sentences of the console for its translators, and compile what they wrote
	@$(ready) && $(babel) extract -F app/console/translations/babel.cfg --no-location --sort-output --omit-header --width=110 -o .data/messages.pot app && $(babel) update -i .data/messages.pot -d app/console/translations --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --width=110 && $(babel) compile -d app/console/translations
lock: ## pin the newest versions that the .in files allow
	@$(ready) && .venv/bin/python -m pip install -q uv && $(lock) -U app/requirements.in -o app/requirements.txt && $(lock) -U -c app/requirements.txt requirements-dev.in -o requirements-dev.txt && $(lock) -U -c app/requirements.txt bench/references/requirements.in -o bench/references/requirements.txt
pin: ## write the digests of the images of production into images.env; asks the registries (POSTGRES_IMAGE=, ...)
	@$(ready) && exec .venv/bin/python deploy/pin.py
release: ## build the image of a release with labels, its SBOM and its licences into dist/ (IMAGE=, PYTHON_IMAGE=, SOURCE=)
	@$(ready) && exec .venv/bin/python deploy/release.py
screenshots: ## take the pictures of docs/images anew, in the Chromium of this machine
	@$(ready) && PYTHONPATH=. exec .venv/bin/python tests/browser/screenshots.py
