#include "vmx/controls.h"

enum need {
    REQUIRED,   /* always on */
    OPTIONAL,   /* on where the processor has it */
    NEGOTIATED, /* must be available, but is off until a guest's state asks for it */
    WANTED,     /* off until it is asked for, where the processor has it */
};

static const struct control {
    uint8_t word;
    uint8_t bit;
    uint8_t need;
    const char *text;
} controls_wanted[] = {
#define VMX_CONTROL(word, bit, name, need, text) {CONTROL_##word, bit, need, text},
#include "vmx/vmx_controls.def"
#undef VMX_CONTROL
};

/* Features that are not control bits but that Traprock cannot do without. */
static const struct {
    uint64_t mask;
    const char *text;
} ept_required[] = {
    {EPT_CAP_WALK_4, "EPT page-walk length 4"},
    {EPT_CAP_WB, "EPT write-back paging structures"},
    {EPT_CAP_INVEPT, "INVEPT"},
    {EPT_CAP_INVEPT_ALL, "all-context INVEPT"},
};

static bool is_available(const struct vmx_capabilities *capabilities, const struct control *control)
{
    return capabilities->control[control->word] >> 32 & BIT(control->bit);
}

enum status controls_negotiate(const struct vmx_capabilities *capabilities,
                               struct vmx_controls *controls, const char **missing)
{
    for (unsigned i = 0; i < CONTROL_WORDS; i++)
        controls->word[i] = (uint32_t)capabilities->control[i];
    for (size_t i = 0; i < ARRAY_SIZE(controls_wanted); i++) {
        const struct control *control = &controls_wanted[i];
        bool available = is_available(capabilities, control);
        if (!available && (control->need == REQUIRED || control->need == NEGOTIATED)) {
            *missing = control->text;
            return ERR_UNSUPPORTED;
        }
        if (available && (control->need == REQUIRED || control->need == OPTIONAL))
            controls->word[control->word] |= 1u << control->bit;
    }
    for (size_t i = 0; i < ARRAY_SIZE(ept_required); i++)
        if (!(capabilities->ept_vpid & ept_required[i].mask)) {
            *missing = ept_required[i].text;
            return ERR_UNSUPPORTED;
        }
    /* A VPID that could not be flushed would be worse than none. */
    if (!(capabilities->ept_vpid & VPID_CAP_INVVPID) ||
        !(capabilities->ept_vpid & VPID_CAP_INVVPID_ALL))
        controls->word[CONTROL_SECONDARY] &= ~(uint32_t)CONTROL_ENABLE_VPID;
    return STATUS_OK;
}

const char *controls_name(enum control_word word, unsigned bit)
{
    for (size_t i = 0; i < ARRAY_SIZE(controls_wanted); i++)
        if (controls_wanted[i].word == word && controls_wanted[i].bit == bit)
            return controls_wanted[i].text;
    return "?";
}
