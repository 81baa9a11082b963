#include "kernel/vm/acpi_tables.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"
#include "kernel/vm/acpi_dsdt.h"

#define OEM_ID "TRAPRK"
#define OEM_TABLE_ID "TRAPROCK"
#define CREATOR_ID "TRPK"
#define HEADER_SIZE 36
#define TABLE_ALIGNMENT 64

/* A table that is being written. */
struct table {
    uint8_t *at;
    size_t size; /* that there is */
    size_t used;
    bool overflow;
    uint64_t address; /* guest-physical */
};

static void put(struct table *table, uint64_t value, unsigned size)
{
    if (table->size - table->used < size) {
        table->overflow = true;
        return;
    }
    memcpy(table->at + table->used, &value, size);
    table->used += size;
}

static void put_text(struct table *table, const char *text, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        put(table, (uint8_t)text[i], 1);
}

static uint8_t checksum(const uint8_t *at, size_t size)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + at[i]);
    return (uint8_t)-sum;
}

/* ---- The common header. ACPI: System Description Table Header. ---- */

#define HEADER_LENGTH 4
#define HEADER_CHECKSUM 9

static void begin(struct table *table, const char *signature, uint8_t revision)
{
    put_text(table, signature, 4);
    put(table, 0, 4); /* length */
    put(table, revision, 1);
    put(table, 0, 1); /* checksum */
    put_text(table, OEM_ID, 6);
    put_text(table, OEM_TABLE_ID, 8);
    put(table, 1, 4);
    put_text(table, CREATOR_ID, 4);
    put(table, 1, 4);
}

static void end(struct table *table)
{
    if (table->overflow)
        return;
    uint32_t length = (uint32_t)table->used;
    memcpy(table->at + HEADER_LENGTH, &length, 4);
    table->at[HEADER_CHECKSUM] = checksum(table->at, table->used);
}

/* ---- FADT. ACPI: Fixed ACPI Description Table. ---- */

#define FADT_REVISION 6
#define FADT_SIZE 276
#define IAPC_LEGACY_DEVICES BIT(0)
#define IAPC_8042 BIT(1)
#define IAPC_VGA_NOT_PRESENT BIT(2)
#define IAPC_PCIE_ASPM_CONTROLS BIT(4)
#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_SLP_BUTTON BIT(5) /* no sleep button among the fixed events; the power button is */
#define FADT_TMR_VAL_EXT BIT(8)
#define FADT_RESET_REG_SUP BIT(10)
#define LATENCY_UNSUPPORTED 0xfff
#define CMOS_CENTURY 0x32
#define SPACE_IO 1

enum access_size { ACCESS_UNDEFINED, ACCESS_BYTE, ACCESS_WORD, ACCESS_DWORD };

/* ACPI: Generic Address Structure. */
static void put_gas(struct table *table, uint64_t port, unsigned bytes, enum access_size access)
{
    put(table, port != 0 ? SPACE_IO : 0, 1);
    put(table, 8 * (uint64_t)bytes, 1);
    put(table, 0, 1);
    put(table, access, 1);
    put(table, port, 8);
}

static void put_fadt_ports(struct table *fadt)
{
    put(fadt, PLATFORM_IRQ_SCI, 2);
    put(fadt, PLATFORM_PORT_SMI_COMMAND, 4);
    put(fadt, PLATFORM_SMI_ACPI_ENABLE, 1);
    put(fadt, PLATFORM_SMI_ACPI_DISABLE, 1);
    put(fadt, 0, 2); /* S4BIOS_REQ, PSTATE_CNT */
    put(fadt, PLATFORM_PM1A_EVENT, 4);
    put(fadt, 0, 4); /* PM1b_EVT_BLK */
    put(fadt, PLATFORM_PM1A_CONTROL, 4);
    put(fadt, 0, 8); /* PM1b_CNT_BLK, PM2_CNT_BLK */
    put(fadt, PLATFORM_PM_TIMER, 4);
    put(fadt, PLATFORM_GPE0, 4);
    put(fadt, 0, 4); /* GPE1_BLK */
    put(fadt, PLATFORM_PM1A_EVENT_SIZE, 1);
    put(fadt, PLATFORM_PM1A_CONTROL_SIZE, 1);
    put(fadt, 0, 1); /* PM2_CNT_LEN */
    put(fadt, PLATFORM_PM_TIMER_SIZE, 1);
    put(fadt, PLATFORM_GPE0_SIZE, 1);
    put(fadt, 0, 3); /* GPE1_BLK_LEN, GPE1_BASE, CST_CNT */
}

/* The same ports once more, in the form that came later. */
static void put_fadt_extended_ports(struct table *fadt)
{
    put_gas(fadt, PLATFORM_PM1A_EVENT, PLATFORM_PM1A_EVENT_SIZE, ACCESS_WORD);
    put_gas(fadt, 0, 0, ACCESS_UNDEFINED); /* PM1b_EVT_BLK */
    put_gas(fadt, PLATFORM_PM1A_CONTROL, PLATFORM_PM1A_CONTROL_SIZE, ACCESS_WORD);
    put_gas(fadt, 0, 0, ACCESS_UNDEFINED); /* PM1b_CNT_BLK */
    put_gas(fadt, 0, 0, ACCESS_UNDEFINED); /* PM2_CNT_BLK */
    put_gas(fadt, PLATFORM_PM_TIMER, PLATFORM_PM_TIMER_SIZE, ACCESS_DWORD);
    put_gas(fadt, PLATFORM_GPE0, PLATFORM_GPE0_SIZE, ACCESS_BYTE);
    put_gas(fadt, 0, 0, ACCESS_UNDEFINED); /* GPE1_BLK */
    put_gas(fadt, 0, 0, ACCESS_UNDEFINED); /* SLEEP_CONTROL_REG */
    put_gas(fadt, 0, 0, ACCESS_UNDEFINED); /* SLEEP_STATUS_REG */
}

static void write_fadt(struct table *fadt, const struct acpi_facts *facts, uint64_t dsdt)
{
    begin(fadt, "FACP", FADT_REVISION);
    put(fadt, GUEST_MAP_FACS, 4);
    put(fadt, dsdt, 4);
    put(fadt, 0, 2); /* reserved, preferred profile: unspecified */
    put_fadt_ports(fadt);
    put(fadt, LATENCY_UNSUPPORTED, 2); /* C2 */
    put(fadt, LATENCY_UNSUPPORTED, 2); /* C3 */
    put(fadt, 0, 4);                   /* FLUSH_SIZE, FLUSH_STRIDE: WBINVD works */
    put(fadt, 0, 4);                   /* DUTY_OFFSET, DUTY_WIDTH, DAY_ALRM, MON_ALRM */
    put(fadt, CMOS_CENTURY, 1);
    put(fadt,
        IAPC_LEGACY_DEVICES | (facts->has_keyboard ? IAPC_8042 : 0) | IAPC_VGA_NOT_PRESENT |
            IAPC_PCIE_ASPM_CONTROLS,
        2);
    put(fadt, 0, 1);
    put(fadt, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP,
        4);
    put_gas(fadt, PLATFORM_PORT_RESET_CONTROL, 1, ACCESS_BYTE);
    put(fadt, PLATFORM_RESET_VALUE, 1);
    put(fadt, 0, 3); /* ARM_BOOT_ARCH, minor revision */
    put(fadt, 0, 8); /* X_FIRMWARE_CTRL: the 32-bit field is used */
    put(fadt, dsdt, 8);
    put_fadt_extended_ports(fadt);
    put(fadt, 0, 8); /* hypervisor's vendor identity */
    end(fadt);
}

/* ---- MADT. ACPI: Multiple APIC Description Table. ---- */

#define MADT_REVISION 5
#define MADT_PCAT_COMPAT 1
#define MADT_ENABLED 1
#define MADT_ALL_PROCESSORS 0xff
#define MADT_ALL_PROCESSORS_X2 0xffffffff
#define MADT_X2APIC_FIRST 255 /* the first ID that needs the longer entry */
#define INTI_CONFORMS 0x0
#define INTI_LEVEL_ACTIVE_HIGH 0xd

static void put_processor(struct table *madt, uint32_t id)
{
    if (id < MADT_X2APIC_FIRST) {
        put(madt, 0 | 8 << 8, 2); /* type, length */
        put(madt, id, 1);         /* processor UID */
        put(madt, id, 1);         /* APIC ID */
        put(madt, MADT_ENABLED, 4);
        return;
    }
    put(madt, 9 | 16 << 8, 4);
    put(madt, id, 4);
    put(madt, MADT_ENABLED, 4);
    put(madt, id, 4);
}

static void put_override(struct table *madt, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    put(madt, 2 | 10 << 8, 2);
    put(madt, 0, 1); /* ISA */
    put(madt, irq, 1);
    put(madt, gsi, 4);
    put(madt, flags, 2);
}

static void write_madt(struct table *madt, const struct acpi_facts *facts)
{
    begin(madt, "APIC", MADT_REVISION);
    put(madt, PLATFORM_LAPIC, 4);
    put(madt, MADT_PCAT_COMPAT, 4);
    for (uint32_t id = 0; id < facts->vcpu_count; id++)
        put_processor(madt, id);
    put(madt, 1 | 12 << 8, 2); /* I/O APIC 0, from GSI 0 on */
    put(madt, 0, 2);
    put(madt, PLATFORM_IOAPIC, 4);
    put(madt, 0, 4);
    put_override(madt, PLATFORM_IRQ_TIMER, PLATFORM_GSI_TIMER, INTI_CONFORMS);
    put_override(madt, PLATFORM_IRQ_SCI, PLATFORM_GSI_SCI, INTI_LEVEL_ACTIVE_HIGH);
    put(madt, 4 | 6 << 8, 2); /* NMI at LINT1 */
    put(madt, MADT_ALL_PROCESSORS, 1);
    put(madt, INTI_CONFORMS, 2);
    put(madt, 1, 1);
    if (facts->vcpu_count > MADT_X2APIC_FIRST) {
        put(madt, 10 | 12 << 8, 2);
        put(madt, INTI_CONFORMS, 2);
        put(madt, MADT_ALL_PROCESSORS_X2, 4);
        put(madt, 1, 4);
    }
    end(madt);
}

/* ---- The small ones ---- */

/* PCI Firmware Specification: MCFG. */
static void write_mcfg(struct table *mcfg)
{
    begin(mcfg, "MCFG", 1);
    put(mcfg, 0, 8);
    put(mcfg, PLATFORM_ECAM, 8);
    put(mcfg, 0, 2); /* segment */
    put(mcfg, PLATFORM_ECAM_FIRST_BUS, 1);
    put(mcfg, PLATFORM_ECAM_LAST_BUS, 1);
    put(mcfg, 0, 4);
    end(mcfg);
}

static void write_dsdt(struct table *dsdt, const struct acpi_facts *facts)
{
    begin(dsdt, "DSDT", 2); /* integers of 64 bits */
    struct aml aml = {.at = dsdt->at + dsdt->used, .size = dsdt->size - dsdt->used};
    acpi_dsdt_write(&aml, facts);
    dsdt->overflow |= aml.overflow;
    dsdt->used += aml.used;
    end(dsdt);
}

/* ACPI: Firmware ACPI Control Structure; no checksum. */
static void write_facs(uint8_t *region)
{
    struct table facs = {.at = region + (GUEST_MAP_FACS - GUEST_MAP_ACPI_BASE), .size = 64};
    put_text(&facs, "FACS", 4);
    put(&facs, 64, 4);
    put(&facs, 0, 8); /* hardware signature, waking vector */
    put(&facs, 0, 8); /* global lock, flags */
    put(&facs, 0, 8); /* 64-bit waking vector */
    put(&facs, 2, 1); /* version */
}

/* ACPI: Root System Description Pointer. */
#define RSDP_SIZE 36
#define RSDP_OLD_SIZE 20
#define RSDP_CHECKSUM 8
#define RSDP_EXTENDED_CHECKSUM 32

static void write_rsdp(struct table *rsdp, uint64_t xsdt, uint64_t rsdt)
{
    put_text(rsdp, "RSD PTR ", 8);
    put(rsdp, 0, 1);
    put_text(rsdp, OEM_ID, 6);
    put(rsdp, 2, 1); /* revision */
    put(rsdp, rsdt, 4);
    put(rsdp, RSDP_SIZE, 4);
    put(rsdp, xsdt, 8);
    put(rsdp, 0, 4);
    rsdp->at[RSDP_CHECKSUM] = checksum(rsdp->at, RSDP_OLD_SIZE);
    rsdp->at[RSDP_EXTENDED_CHECKSUM] = checksum(rsdp->at, RSDP_SIZE);
}

/* ---- All of them ---- */

#define LISTED 3

/* ACPI: Root System Description Table, and Extended System Description Table: the tables' addresses
 * in so many bytes each. */
static void write_root(struct table *root, const char *signature, const uint64_t *listed,
                       unsigned size)
{
    begin(root, signature, 1);
    for (unsigned i = 0; i < LISTED; i++)
        put(root, listed[i], size);
    end(root);
}

/* Where the next table begins, behind one that is done. */
static struct table next_table(uint8_t *region, const struct table *done)
{
    size_t begins = (size_t)align_up((uint64_t)(done->at - region) + done->used, TABLE_ALIGNMENT);
    size_t limit = GUEST_MAP_ACPI_SIZE;
    if (begins > limit)
        begins = limit;
    return (struct table){.at = region + begins,
                          .size = limit - begins,
                          .overflow = done->overflow,
                          .address = GUEST_MAP_ACPI_BASE + begins};
}

enum status acpi_tables_build(uint8_t region[ACPI_REGION_SIZE], const struct acpi_facts *facts)
{
    if (facts->vcpu_count == 0 || facts->vcpu_count > ACPI_VCPUS_MAX)
        return ERR_INVALID;
    memset(region, 0, ACPI_REGION_SIZE);
    struct table rsdp = {.at = region, .size = GUEST_MAP_ACPI_SIZE, .used = RSDP_SIZE};
    struct table xsdt = next_table(region, &rsdp);
    xsdt.used = HEADER_SIZE + LISTED * 8; /* filled in when the tables' places are known */
    struct table rsdt = next_table(region, &xsdt);
    rsdt.used = HEADER_SIZE + LISTED * 4;
    struct table dsdt = next_table(region, &rsdt);
    write_dsdt(&dsdt, facts);
    struct table fadt = next_table(region, &dsdt);
    write_fadt(&fadt, facts, dsdt.address);
    struct table madt = next_table(region, &fadt);
    write_madt(&madt, facts);
    struct table mcfg = next_table(region, &madt);
    write_mcfg(&mcfg);
    if (mcfg.overflow)
        return ERR_NO_SPACE;
    const uint64_t listed[LISTED] = {fadt.address, madt.address, mcfg.address};
    rsdp.used = xsdt.used = rsdt.used = 0;
    write_root(&xsdt, "XSDT", listed, 8);
    write_root(&rsdt, "RSDT", listed, 4);
    write_rsdp(&rsdp, xsdt.address, rsdt.address);
    write_facs(region);
    return STATUS_OK;
}
