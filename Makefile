# The commands that people run. Each says what it is doing, sets up what it
# needs and is quick the second time; `make help` lists them.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

# Steps that do not need each other run side by side. Recipes with a `+` hand make's job tokens on to cargo and to the kernel's make, so all of
# them together keep the processors busy and no more than that.
MAKEFLAGS += --jobs=$(shell nproc)
export CARGO_TERM_PROGRESS_WHEN := never

TARGET := $(or $(CARGO_TARGET_DIR),target)
SHIPPED := $(TARGET)/release
PREBAKE := $(SHIPPED)/prebake
GUEST := $(TARGET)/guest
REGISTRY := $(TARGET)/registry/docker-registry
IMAGES := $(TARGET)/images
DEMO := $(TARGET)/demo
# The machine's own code, and with its kernel's; how many instructions of that.
MODULE := $(TARGET)/wasm/machine.wasm
LINKED := $(TARGET)/wasm/linked.wasm
KERNEL_INSTRUCTIONS := 10000
C2W := $(TARGET)/c2w
BENCH := $(TARGET)/bench
HOSTS := $(TARGET)/hosts
WEB := $(TARGET)/web/site
APPS := $(TARGET)/apps
# prebake as one static file, which is what an app starts on Android.
STATIC_ARCHITECTURES := aarch64 x86_64
static_program = $(TARGET)/static/$(1)-unknown-linux-musl/static/prebake
STATIC := $(foreach architecture,$(STATIC_ARCHITECTURES),$(call static_program,$(architecture)))
PREFIX ?= /usr/local
WEB_PORT ?= 8080
WEB_IMAGES ?= demo alpine python
DESTDIR ?=
WASMTIME := 50.0.1
CARGO_FUZZ := 0.13.2
CARGO_DENY := 0.20.2
FUZZ := $(TARGET)/fuzz
FUZZ_TARGETS ?= $(notdir $(wildcard fuzz/seeds/*))
FUZZ_SECONDS ?= 300

# What runs in the guest; see guest/build.
INIT := $(GUEST)/build/x86_64-unknown-linux-musl/init/init
TORTURE := $(GUEST)/build/x86_64-unknown-linux-musl/init/torture

TEST_IMAGES := busybox alpine debian nobody layers server
PACKAGES := gcc g++ libc6-dev make flex bison bc libelf-dev xz-utils patch cpio llvm-22-dev
TEST_PACKAGES := e2fsprogs erofs-utils gdb iproute2 jq openssl python3 skopeo

.PHONY: help
help:
	@echo 'make demo    bake a snapshot of a booted Linux and start a shell out of it'
	@echo 'make check   formatting, lints, order of layers, unit tests, a sample of the instruction oracle: what to run after every change'
	@echo 'make test    everything a change can break: the above, and tests with a real guest; what CI runs'
	@echo 'make nightly what takes longer, one after the other: $(NIGHTLY)'
	@echo 'make audit   licences, sources and known vulnerabilities of the crates that prebake is made of'
	@echo 'make stack   check that every handler of the optimised interpreter ends in a jump'
	@echo 'make oracle  compare six million instructions with this processor, and translated code with the interpreter'
	@echo 'make hosts   compare the machine on more hosts, byte for byte, and run machines in a stock WASI runtime'
	@echo 'make distros compare programs of Debian and Alpine in the guest with this host'
	@echo 'make net-test what needs network namespaces: package managers, git, ssh and servers in guests, and other networks and a Linux as their peers'
	@echo 'make c2w-test  run a guest with container2wasm'\''s protocol, kernel options and the patch for it; see contrib/container2wasm/README.md'
	@echo 'make clones  start a hundred machines of one snapshot, of the demo and of Alpine, and show how much memory each has of its own'
	@echo 'make bench   time to boot, time to the first answer of a restored machine, and speed beside QEMU; OLD=FOLDER compares with an older build'
	@echo 'make bench-translation  nine programs on QEMU, and in WAMR without translated code, with the kernel'\''s, and with their own'
	@echo 'make bench-image IMAGE="busybox debian"   time to make machines and snapshots of container images, and to their first answer'
	@echo 'make bench-pull      time to the prompt of an image that comes over a slow line, and what it is if all of it comes first'
	@echo 'make bench-sessions  time to push and pull, to the first answer of a pulled image, and to save and resume a session'
	@echo 'make bench-network   throughput and latency of the guest'"'"'s network beside QEMU, and what a network costs a first answer'
	@echo 'make bench-parts     the parts one by one: the same as cargo bench'
	@echo 'make bench-web       the page in Chromium beside v86: load to prompt, six workloads, memory'
	@echo '             (each of these writes its figures into docs/figures.md)'
	@echo 'make fuzz    fuzz FUZZ_TARGETS for FUZZ_SECONDS each; see fuzz/README.md'
	@echo 'make hot-ops measure which ops guests run most, for the dispatcher in WebAssembly'
	@echo 'make build   the program: $(PREBAKE)'
	@echo 'make web     the page that runs machines in a browser, and its npm package: web/dist; see docs/web.md'
	@echo 'make web-serve  serve it with the demo, Alpine and Python: http://localhost:$(WEB_PORT)/'
	@echo 'make web-test   test it in Node.js, in Chromium and in Firefox'
	@echo 'make web-long MINUTES=60   work in the page for so long, and check every answer and its memory'
	@echo 'make apps    Kotlin modules for apps, with an AAR: $(APPS)/maven; see docs/android.md'
	@echo 'make apps-test  run what an app does with them, a registry and machines'
	@echo 'make c       the library for C, and for what speaks to C: $(TARGET)/c; see docs/c.md'
	@echo 'make c-test  compile programs with it and run them'
	@echo 'make swift-test  compile the Swift package with the Swift of a newer Debian (2.5 GB), and run what programs do; see docs/swift.md'
	@echo 'make python-test  install the Python package, and run what programs do with it; see docs/python.md'
	@echo 'make static  the program for aarch64 and x86_64 as one static file, for any Linux and for Android: $(STATIC)'
	@echo 'make aarch64 the program for aarch64 Linux: $(TARGET)/aarch64/aarch64-unknown-linux-gnu/release/prebake'
	@echo 'make machine the machine as a WebAssembly module, beside the program'
	@echo 'make guest   kernel and root file system: $(GUEST); for container images, beside the program'
	@echo 'make install the program and all it is shipped with, below PREFIX ($(PREFIX)), or below DESTDIR for packages'
	@echo 'make dist    a tarball and a Debian package of that, and the static program: $(TARGET)/dist'
	@echo 'make recording  the terminal recordings of the documents: docs/recording.svg, docs/habits.svg'
	@echo 'make images  container images for the tests: $(IMAGES)'
	@echo 'make clean   remove $(TARGET); slow results stay in the cache ($${PREBAKE_CACHE:-~/.cache/prebake})'

.PHONY: packages
packages:
	@guest/apt install $(PACKAGES)
	@command -v cargo >/dev/null || { echo 'Rust is missing: install rustup and its stable toolchain' >&2; exit 1; }

.PHONY: test-packages
test-packages: packages
	@guest/apt install $(TEST_PACKAGES)

.PHONY: build
build: packages
	@echo 'build: prebake and its compiler, optimised'
	+@cargo build --release --bin prebake --bin prebake-wamrc --bin link-kernel

# The machine as a WebAssembly module, with the hot code of its kernel translated. prebake looks for it in its own folder.
.PHONY: machine module
machine: build module kernel $(SHIPPED)/initramfs.cpio
	@guest/kernel/link $(SHIPPED) $(MODULE) $(GUEST)/vmlinux $(KERNEL_INSTRUCTIONS) $(LINKED) && \
	    { cmp -s $(LINKED) $(SHIPPED)/machine.wasm || cp $(LINKED) $(SHIPPED)/machine.wasm; }

module: packages
	+@module=$$(emu/ports/wasi/build) && mkdir -p $(dir $(MODULE)) && { cmp -s $$module $(MODULE) || cp $$module $(MODULE); }

.PHONY: guest
guest: kernel $(GUEST)/initramfs.cpio $(SHIPPED)/initramfs.cpio

.PHONY: test-guest
test-guest: guest $(GUEST)/tests.cpio $(GUEST)/root.img baremetal

.PHONY: kernel
kernel: packages
	@mkdir -p $(GUEST)
	+@kernel=$$(guest/kernel/build) && for file in vmlinux System.map; do \
	    cmp -s $$kernel/$$file $(GUEST)/$$file || cp $$kernel/$$file $(GUEST)/$$file || exit 1; \
	done
	@mkdir -p $(SHIPPED) && { cmp -s $(GUEST)/vmlinux $(SHIPPED)/vmlinux || cp $(GUEST)/vmlinux $(SHIPPED)/vmlinux; }

# What machines of container images start with, beside the program: the kernel above, and init alone.
$(SHIPPED)/initramfs.cpio: $(INIT) guest/archive
	@echo 'guest: initramfs of init alone'
	@mkdir -p $(SHIPPED) $(GUEST)
	@rm -rf $(GUEST)/init && mkdir $(GUEST)/init && cp $(INIT) $(GUEST)/init/init
	@guest/archive $(GUEST)/init $@

$(GUEST)/initramfs.cpio: $(INIT) guest/initramfs guest/archive $(shell find guest/demo)
	@echo 'guest: initramfs of busybox and init'
	@mkdir -p $(GUEST)
	@guest/initramfs guest/demo $@ $(INIT)

# The same with what the tests run in the guest.
$(GUEST)/tests.cpio: $(GUEST)/initramfs.cpio $(TORTURE)
	@echo 'guest: initramfs for the tests'
	@rm -rf $(GUEST)/tests && mkdir -p $(GUEST)/tests/bin
	@cp -R guest/demo/. $(GUEST)/tests && cp $(TORTURE) $(GUEST)/tests/bin
	@guest/initramfs $(GUEST)/tests $@ $(INIT)

# A disk with the tests' files.
$(GUEST)/root.img: $(GUEST)/tests.cpio | test-packages
	@echo 'guest: root disk for the tests'
	@rm -f $@.new && PATH=$$PATH:/sbin:/usr/sbin mke2fs -q -t ext4 -d $(GUEST)/tests $@.new 8M >/dev/null && mv $@.new $@

# Cargo knows whether there is anything to do, and leaves the files alone if not.
$(INIT): packages
	@echo 'guest: init'
	+@guest/build init >/dev/null

$(TORTURE): packages
	@echo 'guest: torture'
	+@guest/build torture >/dev/null

# A guest without an operating system, for the tests.
.PHONY: baremetal
baremetal: packages
	+@program=$$(guest/baremetal/build) && mkdir -p $(GUEST) && \
	    { cmp -s $$program $(GUEST)/baremetal || cp $$program $(GUEST)/baremetal; }

# A registry for the tests. It is not installed, for then it would be started.
.PHONY: registry
registry: $(REGISTRY)

$(REGISTRY): | packages
	@mkdir -p $(@D)
	@deb=$$(guest/apt fetch docker-registry) && dpkg-deb --fsys-tarfile $$deb | tar -xO ./usr/bin/docker-registry >$@.new
	@chmod 755 $@.new && mv $@.new $@

# Container images, as OCI layouts; guest/images/recipes says what is in each. The tests need some of them.
.PHONY: images test-images
images test-images: packages
images: NAMES := $(notdir $(wildcard guest/images/recipes/*))
test-images: NAMES := $(TEST_IMAGES)
images test-images:
	@mkdir -p $(IMAGES)
	@for name in $(NAMES); do image=$$(guest/images/build $$name) && ln -sfn "$$image" $(IMAGES)/$$name || exit 1; done

# The demo's machine. All machines have the same code: LLVM compiles it once, on one processor, and the tests find it in the cache.
.PHONY: code
code: build machine guest
	@mkdir -p $(DEMO)
	@echo 'demo: packing kernel and root file system into a module, and compiling that: $(DEMO)/demo.wasm, $(DEMO)/demo.aot'
	@$(PREBAKE) convert --kernel $(GUEST)/vmlinux --initrd $(GUEST)/initramfs.cpio -o $(DEMO)/demo.wasm
	@$(PREBAKE) aot $(DEMO)/demo.wasm -o $(DEMO)/demo.aot

.PHONY: demo
demo: code
	@echo 'demo: booting Linux and saving a snapshot of it: $(DEMO)/demo.snap'
	@$(PREBAKE) bake --kernel $(GUEST)/vmlinux --initrd $(GUEST)/initramfs.cpio -o $(DEMO)/demo.snap
	@if [ -t 0 ]; then \
	    echo 'demo: a shell out of the snapshot; leave it with "exit" or Ctrl-A x'; \
	    $(PREBAKE) run --stats $(DEMO)/demo.aot --snapshot $(DEMO)/demo.snap; \
	else \
	    echo 'demo: a script through a shell out of the snapshot'; \
	    printf '%s\n' 'uname -srm' 'echo "6 * 7 = $$((6 * 7))"' 'free -m' | $(PREBAKE) run --stats $(DEMO)/demo.aot --snapshot $(DEMO)/demo.snap; \
	fi

CARGO_TEST := cargo test --quiet

.PHONY: lints
lints: packages
	@echo 'test: formatting'
	@cargo fmt --all --check
	@echo 'test: lints'
	+@cargo clippy --quiet --workspace --all-targets -- -D warnings
	@echo 'test: what the library may depend on, unsafe code, and links in the documents'
	@harness/check-layers
	@harness/check-unsafe
	@docs/check-links

.PHONY: check
check: test-packages lints
	@echo 'test: units'
	+@$(CARGO_TEST) --workspace --lib --bins
	@echo 'test: the order of modules, and a sample of the instruction oracle'
	+@$(CARGO_TEST) --package emu --test modules --test oracle
	@echo 'check: passed'

# Units, properties, the oracle's sample, and the program with a real guest.
.PHONY: programs-test
programs-test: test-packages lints test-guest build machine code registry
	@echo 'test: units, properties and the program'
	+@set -o pipefail; $(CARGO_TEST) --workspace 2>&1 | tee $(TARGET)/test.log

# What people do, in scripts.
SCRIPTS := test-boot test-image test-containers test-publish test-network test-web
.PHONY: $(SCRIPTS)
$(SCRIPTS): test-packages guest build machine code
test-containers test-publish test-network: test-images
test-publish: registry
test-boot:
	@guest/tests/boot $(PREBAKE) $(GUEST)
test-image:
	@guest/tests/image $(PREBAKE) $(GUEST)
test-containers:
	@guest/tests/containers $(PREBAKE) $(IMAGES) $(TEST_IMAGES)
test-network:
	@guest/tests/network $(PREBAKE) $(IMAGES)
# A prompt in a page, a command, and a reload: make web-test has the rest.
test-web: web web-demo registry test-images
	@guest/apt install chromium
	@$(WEB_TEST) tests/page.test.ts --test-name-pattern 'a prompt, commands, and a reload'
test-publish:
	@guest/tests/publish $(PREBAKE) $(IMAGES) $(REGISTRY)

.PHONY: test
test: lints programs-test $(SCRIPTS) python-test
	@awk '/^test result:/ { passed += $$4; ignored += $$8 } END { printf "test result: ok. %d passed; 0 failed; %d ignored, for make nightly\n", passed, ignored }' $(TARGET)/test.log
	@echo 'test: passed, and so did the scripts: $(SCRIPTS) python-test'

# Each of them whatever becomes of the others.
NIGHTLY := audit stack oracle hosts distros net-test c2w-test apps-test c-test swift-test web-test web-long clones fuzz
.PHONY: nightly
nightly: test-packages
	+@failed=; for part in $(NIGHTLY); do echo "nightly: $$part"; $(MAKE) --no-print-directory $$part || failed+=" $$part"; done; \
	    [ -z "$$failed" ] || { echo "nightly: FAILED $$failed"; exit 1; }
	@echo 'nightly: passed'

# The program's own profile: do its handlers end in jumps, too? With other optimisations some would not, and the stack would grow.
.PHONY: stack
stack: packages
	+@$(CARGO_TEST) --release --package emu --lib exec::tests

# A hundred machines of one snapshot at once, and the memory that each has of its own.
.PHONY: clones
clones: test-guest test-images
	+@$(CARGO_TEST) --workspace --test clones -- --ignored --nocapture --test-threads 1

# All instructions with many more operands than `make test` tries.
.PHONY: oracle
oracle: packages
	+@ORACLE_LONG=1 $(CARGO_TEST) --workspace --test oracle -- --nocapture
	+@$(CARGO_TEST) --workspace --test exact -- --ignored

# The list of what is implemented.
.PHONY: instructions
instructions: packages
	+@ORACLE_WRITE=1 $(CARGO_TEST) --workspace --test oracle instructions_md

# The list of the ops that the loop has arms for, of counts of what guests run.
.PHONY: hot-ops
hot-ops: guest
	@mkdir -p $(BENCH)
	@guest/initramfs benches/peers/guest $(BENCH)/initramfs.cpio
	+@cargo run --quiet --release --package emu --features count-ops --example hot_ops -- \
	    $(GUEST)/vmlinux $(GUEST)/initramfs.cpio $(BENCH)/initramfs.cpio >$(BENCH)/hot.rs
	@mv $(BENCH)/hot.rs emu/src/exec/run/hot.rs

# The terminals in the documents.
.PHONY: recording
recording: code
	@guest/apt install python3
	@docs/recording/record $(PREBAKE) "$$(guest/images/build alpine)" start docs/recording.svg
	@docs/recording/record $(PREBAKE) "$$(guest/images/build alpine)" habits docs/habits.svg

# What real distributions are put to, Python's own tests too.
.PHONY: distros
distros: NAMES := alpine workbench
distros: guest build machine
	@mkdir -p $(IMAGES)
	@for name in $(NAMES); do image=$$(guest/images/build $$name) && ln -sfn "$$image" $(IMAGES)/$$name || exit 1; done
	@guest/tests/distros $(PREBAKE) $(IMAGES) $(GUEST) all

# The network with its real users, and beside other networks.
.PHONY: net-test
net-test: NAMES := alpine networked
net-test: guest build machine
	@guest/apt install curl dropbear-bin git iperf3 iproute2 jq openssl passt python3 qemu-system-x86
	@mkdir -p $(IMAGES)
	@for name in $(NAMES); do image=$$(guest/images/build $$name) && ln -sfn "$$image" $(IMAGES)/$$name || exit 1; done
	+@cargo build --quiet --release --package prebake --example tap
	@guest/tests/peers $(PREBAKE) $(SHIPPED)/examples/tap $(IMAGES)
	@guest/tests/services $(PREBAKE) $(IMAGES)
	@guest/tests/circumstances $(PREBAKE) $(IMAGES)

# A guest with container2wasm's protocol: its kernel, its root file system, its machines, and their snapshots at the barrier.
.PHONY: c2w-guest c2w-test c2w-figures
c2w-guest: build machine
	@guest/apt install git golang-go jq xorriso
	+@contrib/container2wasm/test/machines $(PREBAKE) $(C2W)

c2w-test: c2w-guest
	@contrib/container2wasm/test/unit
	@contrib/container2wasm/test/run $(PREBAKE) $(C2W)
	+@$(CARGO_TEST) --workspace --test container2wasm -- --ignored

# For its README: kernels without each of the options, and the times of one run.
c2w-figures: c2w-guest
	+@contrib/container2wasm/test/figures $(PREBAKE) $(C2W)

# prebake for another processor.
.PHONY: aarch64
aarch64: packages
	+@harness/cross

# The same without a C library of the system, aligned for any size of pages.
.PHONY: static
static: packages
	+@harness/static $(STATIC_ARCHITECTURES)
	@harness/static-check $(STATIC)

# The Kotlin modules, as a Maven repository with the program; and what an app does with them.
.PHONY: apps app-images apps-test
apps: static
	@bindings/android/build $(APPS)
	@bindings/android/pack $(APPS) $(STATIC)

app-images: build machine guest
	@mkdir -p $(APPS)
	@alpine=$$(guest/images/build alpine) && bindings/test/images $(PREBAKE) $(GUEST) "$$alpine" $(APPS)/images 2>$(APPS)/images.log || { cat $(APPS)/images.log; exit 1; }

apps-test: apps app-images registry
	@guest/apt install iproute2 openssl qemu-user-static unzip
	@echo 'apps: what is packed, and an app that is compiled against it'
	@bindings/android/test/consumer $(APPS)
	@echo 'apps: the Kotlin modules, with stubs of Android'\''s classes'
	@bindings/test/world $(PREBAKE) $(APPS)/images $(REGISTRY) bindings/android/test/run $(APPS) long $(PREBAKE)
	@echo 'apps: the same with the program for aarch64, and pages of 16 KiB'
	@rm -f $(APPS)/calls-*
	@bindings/test/world $(PREBAKE) $(APPS)/images $(REGISTRY) bindings/android/test/run $(APPS) short $(call static_program,aarch64) \
	    qemu-aarch64-static -p 16384 -strace -D $(abspath $(APPS))/calls-%d
	@bindings/android/test/calls bindings/android/calls $(APPS)/calls-*
	@echo 'apps: the same with the program for x86_64, which any other system call would end'
	@bindings/test/world $(PREBAKE) $(APPS)/images $(REGISTRY) bindings/android/test/run $(APPS) short $(call static_program,x86_64) \
	    bindings/android/test/confined bindings/android/calls

# The library for C, as it is installed, and what programs do with it.
.PHONY: c c-header c-test swift-test
c: packages
	+@bindings/c/build $(TARGET)/c

c-header: packages
	+@HEADER_WRITE=1 $(CARGO_TEST) --workspace --test header

c-test: c app-images registry
	@echo 'c: the example, and what programs do'
	@bindings/c/test/run $(TARGET)/c $(PREBAKE) $(APPS)/images $(REGISTRY)

# The Swift package upon it, with the Swift of a newer Debian.
swift-test: c app-images registry
	@bindings/swift/test $(TARGET)/swift $(TARGET)/c $(PREBAKE) $(APPS)/images $(REGISTRY)

# The Python package, in an environment of its own.
.PHONY: python-test
python-test: app-images registry
	@echo 'python: the package, as pip installs it'
	@bindings/python/test $(APPS)/python $(PREBAKE) $(APPS)/images $(REGISTRY)

# The page, and the npm package that it is built on.
.PHONY: web
web: packages
	+@web/with-node web/build >/dev/null

# With machines, to be put on any server of files.
.PHONY: web-site
web-site: NAMES = $(filter-out demo trained,$(WEB_IMAGES))
web-site: web build machine guest
	@guest/apt install jq openssl
	@mkdir -p $(IMAGES) $(WEB)
	@for name in $(NAMES); do image=$$(guest/images/build $$name) && ln -sfn "$$image" $(IMAGES)/$$name || exit 1; done
	@cp -R web/dist/page/. $(WEB)
	@web/images $(PREBAKE) $(GUEST) $(IMAGES) $(WEB) $(WEB_IMAGES)

.PHONY: web-serve
web-serve: web-site
	@web/with-node node web/serve.mjs $(WEB_PORT) $(WEB)

# The demo's machine and its snapshot, for the tests.
.PHONY: web-demo
web-demo: build machine guest
	@guest/apt install jq openssl
	@web/images $(PREBAKE) $(GUEST) $(IMAGES) $(TARGET)/web/demo demo

WEB_TEST = web/with-node web/test $(TARGET)/web/demo/images $(PREBAKE) $(REGISTRY) $(IMAGES)/busybox
.PHONY: web-test
web-test: web web-demo registry test-images
	@guest/apt install chromium firefox-esr
	@echo 'web: the package in Node.js, and the page in Chromium and in Firefox'
	@$(WEB_TEST)

# Typing, pasting, saving and reloading, for as long as is wanted.
.PHONY: web-long
web-long: WEB_IMAGES := demo
web-long: web-site
	@guest/apt install chromium
	@web/with-node node web/tests/long.mjs $(WEB) $(or $(MINUTES),60)

# The long way round: all of the float torture; another runtime, wasmtime, which is there as a package of Python's; and another processor, in QEMU.
.PHONY: hosts
hosts: test-guest build machine aarch64 test-images web
	@guest/apt install python3-venv qemu-user-static qemu-system-x86 chromium
	@echo 'hosts: a guest without an operating system, on prebake and on QEMU'
	@guest/tests/peer $(PREBAKE) $(GUEST)
	@[ -x $(HOSTS)/bin/pip ] || python3 -m venv $(HOSTS)
	@$(HOSTS)/bin/pip install --quiet wasmtime==$(WASMTIME)
	@echo 'hosts: container images in a stock runtime'
	@guest/tests/stock $(PREBAKE) $(IMAGES) $(HOSTS)/bin/python busybox alpine debian
	@echo 'hosts: the same bytes everywhere'
	+@PREBAKE_PYTHON=$(abspath $(HOSTS)/bin/python) web/with-node $(CARGO_TEST) --workspace --test hosts -- --ignored

# Hostile input beyond what the tests feed. cargo fuzz asks for a nightly compiler only to have sanitizers. The release profile's own checks stay
# off: the interpreter needs that.
FUZZ_CARGO := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=line-tables-only cargo fuzz
FUZZ_FLAGS := --release --sanitizer none --features libfuzzer --target-dir $(abspath $(FUZZ))

.PHONY: cargo-fuzz
cargo-fuzz: packages
	@cargo fuzz --version >/dev/null 2>&1 || { echo 'fuzz: installing cargo-fuzz'; cargo install --quiet --locked cargo-fuzz@$(CARGO_FUZZ); }

.PHONY: fuzz
fuzz: cargo-fuzz
	@for name in $(FUZZ_TARGETS); do \
	    echo "fuzz: $$name, for $(FUZZ_SECONDS) seconds"; \
	    mkdir -p $(FUZZ)/corpus/$$name; \
	    $(FUZZ_CARGO) run $(FUZZ_FLAGS) $$name $(FUZZ)/corpus/$$name fuzz/seeds/$$name \
	        -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=30 -max_len=2048 -print_final_stats=1 || exit 1; \
	done

# Feeds one file again.
.PHONY: fuzz-again
fuzz-again: cargo-fuzz
	+@$(FUZZ_CARGO) run $(FUZZ_FLAGS) $(FUZZ_TARGETS) $(INPUT)

# Takes those of the inputs that were found into the seeds that reach more than the seeds do.
.PHONY: fuzz-seeds
fuzz-seeds: cargo-fuzz
	@for name in $(FUZZ_TARGETS); do \
	    $(FUZZ_CARGO) run $(FUZZ_FLAGS) $$name fuzz/seeds/$$name $(FUZZ)/corpus/$$name -- -merge=1 -max_len=512 || exit 1; \
	done

# What is known of the crates that prebake is made of.
.PHONY: audit
audit: packages
	@cargo deny --version >/dev/null 2>&1 || { echo 'audit: installing cargo-deny'; cargo install --quiet --locked --debug cargo-deny@$(CARGO_DENY); }
	@harness/audit

# What measures, and `figures`, which writes what was measured into a section of the page. With OLD=FOLDER, the release folder of an older build, the
# two versions run in turns and the page stays as it is.
OLD :=
PAGE := docs/figures.md
figure = $(if $(OLD),,$(SHIPPED)/figures --page $(PAGE) --section $(1) --by '$(2)' --)

.PHONY: bench-programs
bench-programs: packages
	+@cargo build --quiet --release --package benches --bins

.PHONY: bench
bench: guest build machine registry bench-programs
	@guest/apt install qemu-system-x86
	@mkdir -p $(BENCH)
	@echo 'bench: booting Linux, five times to each snapshot'
	@$(call figure,boot,make bench) $(SHIPPED)/boot --prebake $(PREBAKE) --kernel $(GUEST)/vmlinux --initrd $(GUEST)/initramfs.cpio \
	    --barrier $(BENCH)/barrier.snap --prompt $(BENCH)/prompt.snap
	@echo 'bench: a restored machine and its first answer'
	@guest/initramfs benches/peers/guest $(BENCH)/initramfs.cpio
	@for version in $(SHIPPED) $(OLD); do \
	    machine=$(BENCH)/$$([ $$version = $(SHIPPED) ] || echo old-); \
	    $$version/prebake convert --kernel $(GUEST)/vmlinux --initrd $(GUEST)/initramfs.cpio -o $${machine}start.wasm && \
	    $$version/prebake aot --segue $${machine}start.wasm -o $${machine}start.aot && \
	    $$version/prebake convert --kernel $(GUEST)/vmlinux --initrd $(BENCH)/initramfs.cpio --append console=ttyS0 -o $${machine}peers.wasm && \
	    $$version/prebake aot --segue $${machine}peers.wasm -o $${machine}peers.aot || exit 1; \
	done
	@$(call figure,start,make bench) benches/start/run $(PREBAKE) $(REGISTRY) $(SHIPPED)/start $(BENCH)/start.aot \
	    $(BENCH)/barrier.snap $(BENCH)/prompt.snap $(if $(OLD),--old $(OLD)/prebake --old-machine $(BENCH)/old-start.aot)
	@echo 'bench: training a machine with the workloads on other inputs'
	@benches/peers/train $(PREBAKE) $(GUEST)/vmlinux $(BENCH)/initramfs.cpio $(BENCH)/peers.wasm 10000 $(BENCH)/trained.aot
	@echo 'bench: six workloads on QEMU and on prebake, natively and in WAMR, in turns'
	@$(call figure,workloads,make bench) $(SHIPPED)/peers --prebake $(PREBAKE) --machine $(BENCH)/peers.aot --trained $(BENCH)/trained.aot \
	    --kernel $(GUEST)/vmlinux --initrd $(BENCH)/initramfs.cpio --counter benches/peers/count.c \
	    $(if $(OLD),--old $(OLD)/prebake --old-machine $(BENCH)/old-peers.aot)

# Programs of Debian on QEMU, and in WAMR on three machines: without translated code, as it is shipped, and trained with other inputs.
.PHONY: bench-translation
bench-translation: guest build machine bench-programs
	@guest/apt install erofs-utils jq qemu-system-x86
	@mkdir -p $(BENCH)
	@benches/peers/disk "$$(guest/images/build tools)" $(BENCH)/tools.img
	@guest/initramfs benches/peers/programs $(BENCH)/programs.cpio
	@mkdir -p $(BENCH)/plain && ln -sf $(abspath $(MODULE)) $(BENCH)/plain && \
	    for file in prebake-wamrc vmlinux initramfs.cpio; do ln -sf $(abspath $(SHIPPED))/$$file $(BENCH)/plain || exit 1; done
	@for folder in $(BENCH)/plain $(SHIPPED); do \
	    machine=$(BENCH)/$$([ $$folder = $(SHIPPED) ] || echo plain-)programs; export PREBAKE_MACHINE=$$folder; \
	    $(PREBAKE) convert --kernel $(GUEST)/vmlinux --initrd $(BENCH)/programs.cpio --root $(BENCH)/tools.img --append console=ttyS0 \
	        --memory 256 -o $$machine.wasm && benches/peers/compile $(PREBAKE) $$machine.wasm $$machine.aot || exit 1; \
	done
	@echo 'bench: training a machine with the programs on other inputs'
	@benches/peers/train $(PREBAKE) $(GUEST)/vmlinux $(BENCH)/programs.cpio $(BENCH)/programs.wasm 80000 $(BENCH)/trained-programs.aot \
	    --memory 256 --disk $(BENCH)/tools.img:ro
	@echo 'bench: programs on QEMU and in WAMR, in turns'
	@$(call figure,programs,make bench-translation) $(SHIPPED)/peers --prebake $(PREBAKE) --machine $(BENCH)/programs.aot \
	    --plain $(BENCH)/plain-programs.aot --trained $(BENCH)/trained-programs.aot --kernel $(GUEST)/vmlinux --initrd $(BENCH)/programs.cpio --disk $(BENCH)/tools.img \
	    --memory 256 --rounds 3
	@echo 'bench: what the sets of translated code cover and cost'
	@$(PREBAKE) boot --kernel $(GUEST)/vmlinux --initrd $(BENCH)/programs.cpio --append console=ttyS0 --memory 256 --disk $(BENCH)/tools.img:ro \
	    --clock virtual --profile $(BENCH)/programs.profile </dev/null >$(BENCH)/programs.log 2>&1 || { cat $(BENCH)/programs.log >&2; exit 1; }
	@$(call figure,sets,make bench-translation) benches/peers/sets $(PREBAKE) $(BENCH)/programs.profile none $(BENCH)/plain-programs \
	    "the kernel's" $(BENCH)/programs "the kernel's and the programs'" $(BENCH)/trained-programs

# In a network namespace of its own, where its ports are free.
.PHONY: bench-network
bench-network: guest build machine bench-programs
	@guest/apt install iproute2 qemu-system-x86
	@rm -rf $(BENCH)/network && mkdir -p $(BENCH)/network/bin && cp benches/network/guest/init $(BENCH)/network
	@gcc -static -O2 -o $(BENCH)/network/bin/partner benches/network/partner.c
	@guest/initramfs $(BENCH)/network $(BENCH)/network.cpio
	@$(PREBAKE) convert --kernel $(GUEST)/vmlinux --initrd $(BENCH)/network.cpio --append console=ttyS0 --network-device -o $(BENCH)/network.wasm
	@$(PREBAKE) convert oci:$$(guest/images/build busybox) -o $(BENCH)/answer.wasm
	@for machine in network answer; do $(PREBAKE) aot --segue $(BENCH)/$$machine.wasm -o $(BENCH)/$$machine.aot || exit 1; done
	@$(PREBAKE) bake $(BENCH)/answer.wasm -o $(BENCH)/answer.snap
	@echo 'bench: the network of guests on QEMU and on prebake, natively and in WAMR, in turns'
	@$(call figure,network,make bench-network) unshare --user --map-root-user --net benches/network/run $(SHIPPED)/network \
	    --prebake $(PREBAKE) --kernel $(GUEST)/vmlinux --initrd $(BENCH)/network.cpio --machine $(BENCH)/network.aot \
	    --image $(BENCH)/answer.aot --snapshot $(BENCH)/answer.snap

.PHONY: bench-sessions
bench-sessions: build machine guest registry test-images bench-programs
	@guest/apt install jq
	@echo 'bench: images in a registry, and sessions that are saved and resumed'
	@$(call figure,sessions,make bench-sessions) benches/sessions/run $(PREBAKE) $(IMAGES) $(REGISTRY) busybox debian

.PHONY: bench-pull
bench-pull: NAMES := busybox alpine debian python
bench-pull: build machine guest registry bench-programs
	@guest/apt install python3
	@mkdir -p $(IMAGES)
	@for name in $(NAMES); do image=$$(guest/images/build $$name) && ln -sfn "$$image" $(IMAGES)/$$name || exit 1; done
	@echo 'bench: first launches over slow lines'
	@$(call figure,pull,make bench-pull) benches/pull/run $(PREBAKE) $(IMAGES) $(REGISTRY) $(NAMES)

# The images are some of guest/images/recipes.
IMAGE := busybox alpine debian
.PHONY: bench-image
bench-image: guest build machine bench-programs
	@mkdir -p $(BENCH) $(IMAGES)
	@for name in $(IMAGE); do image=$$(guest/images/build $$name) && ln -sfn "$$image" $(IMAGES)/$$name || exit 1; done
	@echo 'bench: machines of container images, their snapshots, and their first answers'
	@$(call figure,images,make bench-image IMAGE="$(IMAGE)") $(SHIPPED)/images --prebake $(PREBAKE) --output $(BENCH) $(addprefix $(IMAGES)/,$(IMAGE))

.PHONY: bench-web
bench-web: WEB_IMAGES := demo trained
bench-web: web-site bench-programs
	@guest/apt install chromium
	@web/bench/guest $(TARGET)/web/v86
	@web/with-node node web/bench/v86-state.mjs $(TARGET)/web/v86
	@echo 'bench: the page and v86 in Chromium, in turns'
	@$(call figure,web,make bench-web) web/with-node node web/bench/bench.mjs $(WEB) $(TARGET)/web/v86 $(PREBAKE) benches/peers/guest/init

.PHONY: bench-parts
bench-parts: bench-programs
	+@cargo bench --package benches
	@$(call figure,parts,make bench-parts) $(SHIPPED)/parts $(TARGET)/criterion

.PHONY: install
install: build machine guest
	@harness/install $(SHIPPED) "$(DESTDIR)" "$(PREFIX)"

# Packages of the program with everything that it is shipped with.
.PHONY: dist
dist: build machine guest static
	@harness/dist $(SHIPPED) $(TARGET)/dist $(STATIC)

.PHONY: clean
clean:
	rm -rf $(TARGET)
