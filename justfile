# Recipes for https://just.systems. Each recipe is one line; CONTRIBUTING.md has the same commands for use without just.

# List the recipes.
default:
    @just --list

# Copy a library between simulators of both vendors, without any account.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Run all tests.
test *ARGS:
    cargo test --workspace {{ARGS}}

# Check with clippy; a warning is an error.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Format the sources.
fmt:
    cargo fmt --all

# Build the API documentation; a warning is an error.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Run everything that CI runs.
ci:
    .ci/run

# Run the benchmarks.
bench *ARGS:
    cargo bench --profile dist -p trunkline-tests {{ARGS}}

# Write the JSON Schemas in schemas/ again, after a change of the types.
schemas:
    UPDATE=1 cargo test -p trunkline-tests --test project schemas

# Write the tables of actions in connectors/*/README.md again, after a change of rows or actions.
readmes:
    UPDATE=1 cargo test -p trunkline-tests --test project readmes

# Install the programs that some tests talk to (Node.js 20 or newer).
peers:
    npm ci --prefix tests/peers
    python3 -m venv tests/peers/.venv
    tests/peers/.venv/bin/pip install --requirement tests/peers/requirements.txt

# Check bans, licences and sources of dependencies (needs cargo-deny).
deny:
    cargo deny check bans licenses sources

# Run Schemathesis against the HTTP API for minutes, with 300 examples for each operation.
api-fuzz:
    cargo test -p trunkline-tests --test host -- serve::api_clients::a_fuzzer_finds_nothing_in_a_long_run --ignored --nocapture

# Fuzz a reader for longer than the tests do: flows, expressions, rows, settings, deliveries or headers.
fuzz TARGET SECONDS="600":
    FUZZ_SECONDS={{SECONDS}} cargo test -p trunkline-tests --test fuzz {{TARGET}} -- --nocapture

# Attack the server for half a minute with each hostile peer, and print a table.
hostile:
    cargo test -p trunkline-tests --test hostile -- --include-ignored --nocapture

# Take out each comparison of an owner, a version or a fingerprint in turn (hours; needs cargo-mutants).
mutants *ARGS:
    cargo mutants --workspace {{ARGS}} || cargo mutants --workspace --iterate --test-package trunkline-tests {{ARGS}} -- --test host
