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
};

static COLD void measure(uint64_t hash[INTEGRITY_PARTS])
{
    hash[INTEGRITY_IMAGE] = paging_hash_image(HASH_START);
    hash[INTEGRITY_PAGE_TABLES] = paging_hash_tables(HASH_START);
    hash[INTEGRITY_DESCRIPTORS] = cpu_hash_tables(HASH_START);
}

static void compare(const char *what, uint64_t hash, uint64_t before)
{
    if (hash != before)
        panic("integrity: %s: the hash is %lx, and was %lx before guests ran", what, hash, before);
}

void integrity_seal_guest(struct guest *guest)
{
    spinlock_acquire(&guest->vm.lock);
    guest->tables = vmx_vm_hash(&guest->vmx, HASH_START);
    guest->is_sealed = true;
    spinlock_release(&guest->vm.lock);
}

/* That nothing changed says that the tables were right all the time, too. With vm->lock, so that
 * they are not given back meanwhile. */
static void verify_guest(struct guest *guest)
{
    if (!guest->is_sealed)
        return;
    if (vmx_vm_check(&guest->vmx, guest->vm.name) != STATUS_OK)
        panic("integrity: EPT of %s", guest->vm.name);
    compare("EPT", vmx_vm_hash(&guest->vmx, HASH_START), guest->tables);
}

void integrity_unseal_guest(struct guest *guest)
{
    spinlock_acquire(&guest->vm.lock);
    verify_guest(guest);
    guest->is_sealed = false;
    spinlock_release(&guest->vm.lock);
}

void integrity_seal(struct monitor *monitor)
{
    measure(monitor->integrity);
    monitor->is_sealed = true;
}

void integrity_verify(struct monitor *monitor)
{
    uint64_t hash[INTEGRITY_PARTS], all = HASH_START;
    if (!monitor->is_sealed)
        return;
    measure(hash);
    for (unsigned i = 0; i < INTEGRITY_PARTS; i++) {
        compare(names[i], hash[i], monitor->integrity[i]);
        all = hash_word(all, hash[i]);
    }
    for (uint32_t i = 0; i < monitor->guests; i++) {
        spinlock_acquire(&monitor->guest[i]->vm.lock);
        verify_guest(monitor->guest[i]);
        spinlock_release(&monitor->guest[i]->vm.lock);
    }
    log_info("integrity: text, page tables, descriptor tables and EPT unchanged (%016lx)", all);
}
