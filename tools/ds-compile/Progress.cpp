#include "Progress.h"
#include <cstdio>
#include <unistd.h>

using namespace ds;

Progress::Progress(const std::string &mode) : shown(mode == "on" || (mode == "auto" && isatty(STDERR_FILENO) == 1)) {}

void Progress::draw(const std::string &suffix) {
  std::fprintf(stderr, "\r\033[K%-12s %s", name.c_str(), suffix.c_str());
  std::fflush(stderr);
}

void Progress::stage(const std::string &next) {
  finish();
  std::lock_guard guard(lock);
  name = next;
  begin = drawn = Clock::now();
  if (shown)
    draw("");
}

void Progress::advance(int64_t done, int64_t total) {
  std::lock_guard guard(lock);
  if (!shown || total <= 0 || Clock::now() - drawn < std::chrono::milliseconds(50))
    return;
  drawn = Clock::now();
  char text[64];
  std::snprintf(text, sizeof(text), "%3lld %%  of %.1f MB", static_cast<long long>(done * 100 / total), static_cast<double>(total) / 1e6);
  draw(text);
}

void Progress::finish() {
  std::lock_guard guard(lock);
  if (name.empty())
    return;
  if (shown) {
    char text[32];
    std::snprintf(text, sizeof(text), "%6.2f s\n", std::chrono::duration<double>(Clock::now() - begin).count());
    draw(text);
  }
  name.clear();
}
