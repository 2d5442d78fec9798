"""Words that every room uses: records, events, schedules, units, errors, clocks, host names."""
