#include "drivers/model/civil_date.h"

/* Days before each month of a year that is no leap year. */
static const uint16_t days_before_month[12] = {0,   31,  59,  90,  120, 151,
                                               181, 212, 243, 273, 304, 334};

#define DAYS_PER_400_YEARS 146097u

static bool is_leap(uint32_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days before 1 January of year: year 0 is a leap year itself. */
static uint32_t days_before_year(uint32_t year)
{
    if (year == 0)
        return 0;
    uint32_t past = year - 1;
    return 366 + 365 * past + past / 4 - past / 100 + past / 400;
}

static uint32_t month_start(uint32_t year, uint32_t month)
{
    return days_before_month[month - 1] + (month > 2 && is_leap(year));
}

uint32_t civil_date_to_days(struct civil_date date)
{
    uint32_t month = date.month < 1 ? 1 : date.month > 12 ? 12 : date.month;
    uint32_t day = date.day < 1 ? 1 : date.day;
    return days_before_year(date.year) + month_start(date.year, month) + day - 1;
}

struct civil_date civil_date_from_days(uint32_t days)
{
    /* The mean length of a year gives the year, or one of its neighbours. */
    uint32_t year = (uint32_t)((uint64_t)days * 400 / DAYS_PER_400_YEARS);
    if (days < days_before_year(year))
        year--;
    else if (days >= days_before_year(year + 1))
        year++;
    uint32_t day_of_year = days - days_before_year(year);
    uint32_t month = 12;
    while (day_of_year < month_start(year, month))
        month--;
    return (struct civil_date){year, month, day_of_year - month_start(year, month) + 1};
}

uint32_t civil_date_weekday(uint32_t days)
{
    return (days + 6) % 7; /* 0000-01-01 was a Saturday */
}
