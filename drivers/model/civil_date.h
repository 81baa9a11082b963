/* Dates of the proleptic Gregorian calendar, without a C library. */
#pragma once

#include "kernel/core/types.h"

#define CIVIL_SECONDS_PER_DAY 86400u

struct civil_date {
    uint32_t year;  /* 0 to 9999 */
    uint32_t month; /* 1 to 12 */
    uint32_t day;   /* from 1 */
};

/* Days from 0000-01-01 to date. A day past the end of its month runs on into the next; a month out
 * of range counts as the nearest. */
uint32_t civil_date_to_days(struct civil_date date);
struct civil_date civil_date_from_days(uint32_t days);

/* 0 is Sunday. */
uint32_t civil_date_weekday(uint32_t days);

/* Days from 0000-01-01 to 1970-01-01, where Unix time begins. */
#define CIVIL_DAYS_TO_UNIX_EPOCH 719528u
