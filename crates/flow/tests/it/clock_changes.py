"""Lists the minutes at which cron expressions are due, by a walk over every minute of a period.

This is the rule of schedules, written a second time and as simply as it can be. It shares nothing with the program but
the data of time zones: Python's `zoneinfo` says what the clock shows at each minute.

Reads {"zone": NAME, "from": MINUTE, "to": MINUTE, "crons": [CRON]} from each line of its input, with minutes since 1970,
and writes a line with a list of minutes for each expression. Exit status 3: Python has no data of time zones.
"""

import json
import sys
from datetime import date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = 24 * 60
EPOCH = date(1970, 1, 1).toordinal()


def values(field, first, last):
    found = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = (f"{first}-{last}" if span == "*" else span).partition("-")
        found.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return found


def walk(zone, start, end):
    """Returns what the clock shows at each minute, and the times that it shows or passes for the first time."""
    shown, passed, latest = [], [], None
    for minute in range(start - 3 * DAY, end):
        offset = datetime.fromtimestamp(minute * 60, zone).utcoffset()
        local = minute + int(offset.total_seconds()) // 60
        if minute >= start:
            shown.append((minute, local))
            passed.extend((minute, time) for time in range(latest + 1, local + 1))
        latest = local if latest is None else max(latest, local)
    return shown, passed


def due(cron, shown, passed):
    minute, hour, day, month, weekday = cron.split()
    minutes, hours = values(minute, 0, 59), values(hour, 0, 23)
    times = {60 * h + m for h in hours for m in minutes}
    days, months = values(day, 1, 31), values(month, 1, 12)
    weekdays = {number % 7 for number in values(weekday, 0, 7)}

    def matches(number):
        one = date.fromordinal(EPOCH + number)
        both = one.day in days, one.isoweekday() % 7 in weekdays
        fits = all(both) if "*" in (day, weekday) else any(both)
        return fits and one.month in months

    walked = shown if len(hours) == 24 else passed
    dates = {number for number in range(walked[0][1] // DAY, walked[-1][1] // DAY + 1) if matches(number)}
    found = [minute for minute, local in walked if local % DAY in times and local // DAY in dates]
    return list(dict.fromkeys(found))


for line in sys.stdin:
    period = json.loads(line)
    try:
        zone = ZoneInfo(period["zone"])
    except ZoneInfoNotFoundError:
        sys.exit(3)
    clock = walk(zone, period["from"], period["to"])
    for cron in period["crons"]:
        print(json.dumps(due(cron, *clock)), flush=True)
