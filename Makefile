# What CI runs and what a developer runs. `make` alone lists the targets.
CARGO ?= cargo
# Seconds that each fuzz target runs: make fuzz SECONDS=600.
SECONDS ?= 60
# Minutes that a soak plays random sessions: make soak MINUTES=30.
MINUTES ?= 10

# Seeds that the simulation of failovers plays: make sim SEEDS=100000.
SEEDS ?= 10000

# Which drills: make drills NAMES="1 38".
NAMES ?=

.PHONY: help test soak sim drills docker-drills servers check fmt clippy doc law no-tokio deny demo bench corpus fuzz clients

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

servers: ## Install MariaDB, MySQL and the tools that tests and benches use (cached)
	scripts/setup-servers.sh

test: servers ## Every test, on real servers
	scripts/test.sh

soak: servers ## Random sessions, straight and through the proxy, for MINUTES minutes on each product
	DBPROXY_DIFFERENTIAL_SECONDS=$$(($(MINUTES) * 60)) DBPROXY_DIFFERENTIAL_SEED=random \
		$(CARGO) test --test differential -- --nocapture

check: fmt clippy doc law no-tokio deny ## Everything that needs no server: format, lints, docs, import law, sizes, dependencies

fmt: ## The format
	$(CARGO) fmt --check

clippy: ## Lints, warnings denied, with and without the shell
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --lib --no-default-features -- -D warnings

doc: ## The documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

law: ## The import law and the size law
	$(CARGO) test --test layering --test tidy

no-tokio: ## The pure rooms build without tokio
	$(CARGO) check --lib --no-default-features
	@tree=$$($(CARGO) tree --no-default-features --edges normal,build --prefix none) || exit 1; \
	if printf '%s\n' "$$tree" | grep -E '^(tokio|mio|futures|async-trait|mysql_async|rustls|socket2)[-_a-z]* v'; then \
		echo "no-tokio: the pure build has the crates above"; exit 1; \
	fi; \
	echo "no-tokio: none of $$(printf '%s\n' "$$tree" | sort -u | wc -l) crates waits, spawns or opens a socket"

deny: ## Licences, duplicates, sources, advisories
	scripts/deny.sh

drills: servers ## Every drill: crashes, hangs, partitions and switchovers under load; some by NAMES="1 38"
	scripts/drills.sh $(NAMES)

docker-drills: servers ## Docker Compose clusters: kill, stop, pause, partition, switchover, rejoin, on both products
	DBPROXY_BASE=local docker/drill.sh all mysql
	DBPROXY_BASE=local docker/drill.sh all mariadb

demo: servers ## A real cluster, a proxy, traffic and where it went
	scripts/demo.sh

bench: servers ## Direct, HAProxy and dbproxy in interleaved rounds
	scripts/bench.sh

clients: servers ## Client libraries' own test suites, straight and through the proxy
	@scripts/clients/run.sh all

sim: ## SEEDS seeds of the simulation of failovers
	SIM_SEEDS=$(SEEDS) $(CARGO) test --no-default-features --profile sim --test failover_sim -- --nocapture

corpus: ## The statements of the servers' own test suites, all of them: fetches 360 MB
	DBPROXY_CORPUS=full $(CARGO) test --test corpus -- --nocapture

fuzz: ## Each fuzz target for SECONDS seconds
	scripts/fuzz.sh $(SECONDS)
