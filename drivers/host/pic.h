/* The machine's two 8259A interrupt controllers, which the monitor does not use. */
#pragma once

/* Moves their vectors out of the exceptions' way and masks all inputs. */
void host_pic_disable(void);
