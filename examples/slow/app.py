"""Works in steps and stops in time: a function can ask how long it may still run.

Event: {"steps": 20}, a tenth of a second each. With more steps than its time-out allows it
returns how far it came. With {"steps": 100, "heedless": true} it runs into the time-out.
"""

import time

STEP_S = 0.1
RESERVE_MS = 500  # to return an answer in


def handler(event, context):
    wanted = int(event.get("steps", 20))
    done = 0
    while done < wanted:
        if not event.get("heedless") and context.get_remaining_time_in_millis() < RESERVE_MS:
            print(f"out of time after {done} of {wanted} steps")
            break
        time.sleep(STEP_S)
        done += 1
    return {"done": done, "wanted": wanted}
