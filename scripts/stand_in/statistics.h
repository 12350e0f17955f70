// What the stand-in counts, and writes at exit where STAND_IN_STATS names a file.
#pragma once
#include <cstdio>
#include <map>
#include <string>

#include "stand_in.h"

namespace stand_in {
struct Statistics {
  std::map<std::string, unsigned long long> launches, calls, syncs, tallies;
  unsigned long long bytes_in = 0, bytes_out = 0, bytes_within = 0;
  ~Statistics() {
    if (!settings().stats) return;
    FILE* f = fopen(settings().stats, "w");
    if (!f) {
      stand_in_complain("cannot write the counts to %s", settings().stats);
      return;
    }
    fprintf(f, "{\n");
    table(f, "launches", launches);
    table(f, "library_calls", calls);
    table(f, "host_syncs", syncs);
    table(f, "tallies", tallies);
    fprintf(f, "  \"allocations\": %llu,\n  \"peak_device_bytes\": %zu,\n", device_allocations(), device_peak(0));
    fprintf(f, "  \"bytes_to_device\": %llu,\n  \"bytes_to_host\": %llu,\n  \"bytes_on_device\": %llu\n}\n", bytes_in,
            bytes_out, bytes_within);
    fclose(f);
  }
  unsigned long long count(const std::string& table, const char* name) const {
    const auto& all = table == "launches" ? launches : table == "library_calls" ? calls : table == "host_syncs" ? syncs : tallies;
    unsigned long long sum = 0;
    for (const auto& [key, count] : all)
      if (!name || key == name) sum += count;
    return sum;
  }
  static void table(FILE* f, const char* name, const std::map<std::string, unsigned long long>& counts) {
    fprintf(f, "  \"%s\": {", name);
    const char* before = "\n";
    for (const auto& [key, count] : counts) {
      fprintf(f, "%s    \"%s\": %llu", before, key.c_str(), count);
      before = ",\n";
    }
    fprintf(f, "%s},\n", counts.empty() ? "" : "\n  ");
  }
};
Statistics& statistics();
void count_sync(const char* kind);
}  // namespace stand_in
