/* Whether what must not change while guests run is as it was before: a hash for each part. */
#include "kernel/core/hash.h"
#include "kernel/core/log.h"
#include "kernel/core/paging.h"
#include "kernel/core/panic.h"
#include "kernel/monitor.h"

static const char *const names[INTEGRITY_PARTS] = {
    [INTEGRITY_IMAGE] = "text",
    [INTEGRITY_PAGE_TABLES] = "page tables",
    [INTEGRITY_DESCRIPTORS] = "descriptor tables",
    [INTEGRITY_GUESTS] = "EPT",
};

static COLD enum status measure(struct monitor *monitor, uint64_t hash[INTEGRITY_PARTS])
{
    enum status status = STATUS_OK;
    hash[INTEGRITY_IMAGE] = paging_hash_image(HASH_START);
    hash[INTEGRITY_PAGE_TABLES] = paging_hash_tables(HASH_START);
    hash[INTEGRITY_DESCRIPTORS] = cpu_hash_tables(HASH_START);
    hash[INTEGRITY_GUESTS] = HASH_START;
    for (uint32_t i = 0; i < monitor->guests && status == STATUS_OK; i++)
        status = vmx_vm_check(&monitor->guest[i]->vmx, monitor->guest[i]->vm.name,
                              &hash[INTEGRITY_GUESTS]);
    return status;
}

enum status integrity_seal(struct monitor *monitor)
{
    enum status status = measure(monitor, monitor->integrity);
    monitor->is_sealed = status == STATUS_OK;
    return status;
}

void integrity_verify(struct monitor *monitor)
{
    uint64_t hash[INTEGRITY_PARTS], all = HASH_START;
    if (!monitor->is_sealed)
        return;
    enum status status = measure(monitor, hash);
    for (unsigned i = 0; i < INTEGRITY_PARTS; i++) {
        if (hash[i] != monitor->integrity[i] || (i == INTEGRITY_GUESTS && status != STATUS_OK))
            panic("integrity: %s: the hash is %lx, and was %lx before guests ran", names[i],
                  hash[i], monitor->integrity[i]);
        all = hash_word(all, hash[i]);
    }
    log_info("integrity: text, page tables, descriptor tables and EPT unchanged (%016lx)", all);
}
