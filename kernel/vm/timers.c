#include "kernel/vm/timers.h"

INIT void timer_queue_init(struct timer_queue *queue)
{
    *queue = (struct timer_queue){.next = TIMER_NEVER};
}

INIT void timer_init(struct timer *timer, struct timer_queue *queue,
                     void (*fire)(void *owner, uint64_t now), void *owner)
{
    *timer = (struct timer){
        .deadline = TIMER_NEVER,
        .fire = fire,
        .owner = owner,
        .queue = queue,
    };
}

static inline void see_next(struct timer_queue *queue)
{
    queue->next = queue->head != NULL ? queue->head->deadline : TIMER_NEVER;
}

/* Leaves queue->next as it was. */
static inline void unlink(struct timer *timer)
{
    struct timer **link = &timer->queue->head;
    if (timer->deadline == TIMER_NEVER)
        return;
    while (*link != timer)
        link = &(*link)->next;
    *link = timer->next;
    timer->deadline = TIMER_NEVER;
}

void timer_cancel(struct timer *timer)
{
    unlink(timer);
    see_next(timer->queue);
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
    struct timer_queue *queue = timer->queue;
    if (deadline == TIMER_NEVER) {
        timer_cancel(timer);
        return;
    }
    unlink(timer);
    struct timer **link = &queue->head;
    while (*link != NULL && (*link)->deadline <= deadline)
        link = &(*link)->next;
    timer->deadline = deadline;
    timer->next = *link;
    *link = timer;
    queue->next = queue->head->deadline;
}

void timers_run(struct timer_queue *queue, uint64_t now)
{
    /* What a firing timer arms goes behind the deadlines that were due before it, and each of these
     * is taken once: the count bounds the work even where a timer arms itself in the past. */
    unsigned due = 0;
    for (struct timer *timer = queue->head; timer != NULL && timer->deadline <= now;
         timer = timer->next)
        due++;
    while (due-- > 0 && queue->head != NULL && queue->head->deadline <= now) {
        struct timer *timer = queue->head;
        timer_cancel(timer);
        timer->fire(timer->owner, now);
    }
}
