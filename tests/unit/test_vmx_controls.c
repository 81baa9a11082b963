/* Negotiation of controls, and the names of fields. */
#include "tests/check.h"
#include "vmx/controls.h"
#include "vmx/vmcs.h"

/* Everything allowed, nothing but the architecture's default-1 bits demanded. */
static struct vmx_capabilities everything(void)
{
    struct vmx_capabilities capabilities = {0};
    static const uint32_t default1[CONTROL_WORDS] = {0x16, 0x401e172, 0, 0x36dff, 0x11ff};
    for (unsigned i = 0; i < CONTROL_WORDS; i++)
        capabilities.control[i] = default1[i] | 0xffffffffull << 32;
    capabilities.ept_vpid = ~0ull;
    return capabilities;
}

static void wanted_and_demanded_bits_are_on(void)
{
    struct vmx_capabilities capabilities = everything();
    struct vmx_controls controls;
    const char *missing = NULL;
    CHECK_EQ(controls_negotiate(&capabilities, &controls, &missing), STATUS_OK);
    CHECK(controls.word[CONTROL_PRIMARY] & (uint32_t)CONTROL_HLT_EXITING);
    CHECK(controls.word[CONTROL_PRIMARY] & (uint32_t)CONTROL_ACTIVATE_SECONDARY_CONTROLS);
    CHECK(!(controls.word[CONTROL_PRIMARY] & CONTROL_INTERRUPT_WINDOW_EXITING));
    CHECK(controls.word[CONTROL_SECONDARY] & CONTROL_ENABLE_VPID);
    CHECK_EQ(controls.word[CONTROL_PIN] & 0x16, 0x16);
    CHECK(!(controls.word[CONTROL_ENTRY] & CONTROL_IA32E_MODE_GUEST));
}

/* Each required control, taken away alone, is named. */
static void missing_controls_are_named(void)
{
    for (unsigned word = 0; word < CONTROL_WORDS; word++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            struct vmx_capabilities capabilities = everything();
            struct vmx_controls controls;
            const char *missing = NULL;
            capabilities.control[word] &= ~BIT(32 + bit);
            if (controls_negotiate(&capabilities, &controls, &missing) == STATUS_OK)
                CHECK(!(controls.word[word] & BIT(bit)) ||
                      (uint32_t)capabilities.control[word] & BIT(bit));
            else
                CHECK_STR(missing, controls_name((enum control_word)word, bit));
        }
    }
}

static void no_secondary_controls_means_no_ept(void)
{
    struct vmx_capabilities capabilities = everything();
    struct vmx_controls controls;
    const char *missing = NULL;
    capabilities.control[CONTROL_SECONDARY] = 0;
    CHECK_EQ(controls_negotiate(&capabilities, &controls, &missing), ERR_UNSUPPORTED);
    CHECK_STR(missing, "enable EPT");
}

static void vpid_needs_its_flush(void)
{
    struct vmx_capabilities capabilities = everything();
    struct vmx_controls controls;
    const char *missing = NULL;
    capabilities.ept_vpid &= ~VPID_CAP_INVVPID;
    CHECK_EQ(controls_negotiate(&capabilities, &controls, &missing), STATUS_OK);
    CHECK(!(controls.word[CONTROL_SECONDARY] & CONTROL_ENABLE_VPID));
    capabilities.ept_vpid &= ~EPT_CAP_INVEPT;
    CHECK_EQ(controls_negotiate(&capabilities, &controls, &missing), ERR_UNSUPPORTED);
    CHECK_STR(missing, "INVEPT");
}

static unsigned visited;

static void count_field(void *context, uint32_t encoding, const char *name)
{
    (void)context;
    visited++;
    CHECK_STR(vmcs_field_name(encoding), name);
}

static void fields_have_names(void)
{
    CHECK_STR(vmcs_field_name(0x681e), "GUEST_RIP");
    CHECK_STR(vmcs_field_name(0x7ffe), "?");
    visited = 0;
    vmcs_visit(count_field, NULL);
    CHECK(visited > 140);
}

TEST_MAIN({"wanted_and_demanded_bits_are_on", wanted_and_demanded_bits_are_on},
          {"missing_controls_are_named", missing_controls_are_named},
          {"no_secondary_controls_means_no_ept", no_secondary_controls_means_no_ept},
          {"vpid_needs_its_flush", vpid_needs_its_flush}, {"fields_have_names", fields_have_names})
