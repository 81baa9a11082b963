# Fuzz targets, the bugs that are planted for them, their corpora, and what all host tests cover.

FUZZ_CC := clang
FUZZ_FLAGS := -std=gnu11 -I. -g -O1 -Wall -Wextra -Werror -MMD -MP -fno-sanitize-recover=all -mcx16 \
	-fsanitize=fuzzer-no-link,address,undefined
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_OBJECTS := $(patsubst %.c,$(BUILD)/fuzz-host/%.o,$(PURE) $(wildcard tests/fake/*.c))

$(BUILD)/fuzz-host/%.o: %.c
	@mkdir -p $(@D)
	@$(FUZZ_CC) $(FUZZ_FLAGS) -c -o $@ $<

$(BUILD)/fuzz-host/libpure.a: $(FUZZ_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/fuzz/%: $(BUILD)/fuzz-host/tests/fuzz/fuzz_%.o $(BUILD)/fuzz-host/libpure.a
	@mkdir -p $(@D)
	@$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $@ $^

# The same with the bug that is planted for the target to find: its sources are compiled again.
define plant
	@mkdir -p $(@D)
	@bug=PLANTED_BUG_$$(echo $(@F) | tr a-z A-Z); sources=$$(grep -lw "$$bug" $(PURE)) && \
		$(FUZZ_CC) $(filter-out -MMD -MP,$(FUZZ_FLAGS)) -D$$bug -fsanitize=fuzzer,address,undefined \
		-o $@ $< $$sources $(BUILD)/fuzz-host/libpure.a
endef
$(BUILD)/fuzz-planted/%: $(BUILD)/fuzz-host/tests/fuzz/fuzz_%.o $(BUILD)/fuzz-host/libpure.a
	$(plant)

# Another one for the loaders, which no memory error gives away: a refusal that does not begin with the
# file's name.
$(BUILD)/fuzz-planted/load_names: $(BUILD)/fuzz-host/tests/fuzz/fuzz_load.o $(BUILD)/fuzz-host/libpure.a
	$(plant)

# ---- Corpora -------------------------------------------------------------------------------------

# A corpus is a text file in the tree (tests/fuzz/corpus.py); fuzzers want a folder.
$(BUILD)/fuzz-seeds/%: tests/fuzz/corpus/%.txt tests/fuzz/corpus.py
	@python3 tests/fuzz/corpus.py expand $< $@
	@touch $@

$(BUILD)/fuzz-seeds/load_names: tests/fuzz/corpus/load.txt tests/fuzz/corpus.py
	@python3 tests/fuzz/corpus.py expand $< $@
	@touch $@

# Makes the corpus anew: the fewest inputs that reach what the tree's and those that were found in
# $(BUILD)/fuzz-corpus do.
.PHONY: fuzz-corpus-%
fuzz-corpus-%: $(BUILD)/fuzz/%
	@mkdir -p tests/fuzz/corpus $(BUILD)/fuzz-corpus/$*
	@touch tests/fuzz/corpus/$*.txt
	@python3 tests/fuzz/corpus.py expand tests/fuzz/corpus/$*.txt $(BUILD)/fuzz-seeds/$*
	@rm -rf $(BUILD)/fuzz-merged/$* && mkdir -p $(BUILD)/fuzz-merged/$*
	@$< -set_cover_merge=1 -use_counters=0 -max_len=4096 -timeout=20 -artifact_prefix=$(BUILD)/fuzz/$*- \
		$(BUILD)/fuzz-merged/$* $(BUILD)/fuzz-seeds/$* $(BUILD)/fuzz-corpus/$* >$<.log 2>&1 || \
		{ tail -n 40 $<.log; false; }
	@python3 tests/fuzz/corpus.py pack $(BUILD)/fuzz-merged/$* tests/fuzz/corpus/$*.txt

# ---- Runs ----------------------------------------------------------------------------------------

# $(call run-fuzzer,PROGRAM,NAME,OPTIONS,FOLDER): what it learns goes to FOLDER, what it finds is
# kept beside the program.
run-fuzzer = { mkdir -p $(4) && $(1) $(3) -timeout=20 -rss_limit_mb=4096 -artifact_prefix=$(1)- \
	$(4) $(BUILD)/fuzz-seeds/$(2) >$(1).log 2>&1; }

.PHONY: fuzzers fuzz-smoke fuzz-smoke-% fuzz-planted-% fuzz-long-%
.SECONDARY: $(patsubst %,$(BUILD)/fuzz-seeds/%,$(FUZZ))
fuzzers: $(addprefix $(BUILD)/fuzz/,$(FUZZ)) $(addprefix $(BUILD)/fuzz-planted/,$(FUZZ) load_names)
fuzz-smoke-load fuzz-long-load: fuzz-planted-load_names

# A short run of every target for `make test`, each time the same: what is new is found by `make fuzz`.
fuzz-smoke: $(addprefix fuzz-smoke-,$(FUZZ))
fuzz-smoke-%: $(BUILD)/fuzz/% $(BUILD)/fuzz-seeds/% fuzz-planted-%
	@rm -rf $<.corpus
	@if $(call run-fuzzer,$<,$*,-seed=1 -max_total_time=2,$<.corpus); then echo "ok fuzz_$*"; \
	else echo "not ok fuzz_$*"; tail -n 40 $<.log; false; fi

# Finds the planted bug, always in the same way, or fails.
fuzz-planted-%: $(BUILD)/fuzz-planted/% $(BUILD)/fuzz-seeds/%
	@rm -rf $<.corpus
	@if ! $(call run-fuzzer,$<,$*,-seed=1 -max_total_time=60,$<.corpus) && grep -q '^SUMMARY: ' $<.log; \
	then echo "ok fuzz_$*_finds_its_planted_bug"; \
	else echo "not ok fuzz_$*_finds_its_planted_bug"; tail -n 5 $<.log; false; fi

fuzz-long-%: $(BUILD)/fuzz/% $(BUILD)/fuzz-seeds/% fuzz-planted-%
	@if $(call run-fuzzer,$<,$*,-max_total_time=$(FUZZ_SECONDS),$(BUILD)/fuzz-corpus/$*); then \
		echo "fuzz_$*: nothing found in $(FUZZ_SECONDS) s"; \
	else tail -n 40 $<.log; false; fi

# ---- Coverage ------------------------------------------------------------------------------------

COVERAGE := $(BUILD)/coverage
COVERAGE_FLAGS := -std=gnu11 -I. -g -O0 $(WARNINGS) -MMD -MP --coverage
COVERAGE_OBJECTS := $(patsubst %.c,$(COVERAGE)/%.o,$(PURE) $(wildcard tests/fake/*.c))

$(COVERAGE)/%.o: %.c
	@mkdir -p $(@D)
	@$(HOST_CC) $(COVERAGE_FLAGS) -c -o $@ $<

$(COVERAGE)/libpure.a: $(COVERAGE_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(COVERAGE)/bin/unit_%: $(COVERAGE)/tests/unit/%.o $(COVERAGE)/tests/check.o $(COVERAGE)/libpure.a
	@mkdir -p $(@D)
	@$(HOST_CC) --coverage -o $@ $^

$(COVERAGE)/bin/fuzz_%: $(COVERAGE)/tests/fuzz/fuzz_%.o $(COVERAGE)/tests/fuzz/replay.o $(COVERAGE)/libpure.a
	@mkdir -p $(@D)
	@$(HOST_CC) --coverage -o $@ $^

COVERAGE_PROGRAMS := $(addprefix $(COVERAGE)/bin/unit_,$(UNIT)) $(addprefix $(COVERAGE)/bin/fuzz_,$(FUZZ))
.PRECIOUS: $(COVERAGE)/%.o $(COVERAGE_PROGRAMS)

# What guests, users and the machine's tables feed. The rest of vmx/ needs a processor that enters
# guests, and is held by the tests on machines: it is shown, without a bar.
COVERED := $(filter-out vmx/%,$(PURE)) $(filter vmx/ept.c vmx/controls.c vmx/vmcs.c vmx/entry_check.c,$(PURE))
COVERAGE_SHOWN := $(filter-out $(COVERED),$(PURE))

.PHONY: coverage-report
coverage-report: $(COVERAGE_PROGRAMS) $(addprefix $(BUILD)/fuzz-seeds/,$(FUZZ))
	@find $(COVERAGE) -name '*.gcda' -delete
	@for test in $(UNIT); do $(COVERAGE)/bin/unit_$$test >$(COVERAGE)/log || \
		{ cat $(COVERAGE)/log; exit 1; }; done
	@for target in $(FUZZ); do $(COVERAGE)/bin/fuzz_$$target $(BUILD)/fuzz-seeds/$$target/* || exit 1; done
	@{ lcov --capture --base-directory . --directory $(COVERAGE) --output-file $(COVERAGE)/all.info && \
		lcov --extract $(COVERAGE)/all.info $(addprefix '$(CURDIR)/,$(addsuffix ',$(PURE))) \
		--output-file $(COVERAGE)/pure.info; } >$(COVERAGE)/log 2>&1 || { cat $(COVERAGE)/log; exit 1; }
	@python3 tests/coverage.py $(COVERAGE)/pure.info --least 90 $(COVERED) --shown $(COVERAGE_SHOWN)
