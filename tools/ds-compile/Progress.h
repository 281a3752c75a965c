// Progress on a terminal: one line that is rewritten; nothing when standard error is not a terminal.
#ifndef TOOLS_DS_COMPILE_PROGRESS_H
#define TOOLS_DS_COMPILE_PROGRESS_H

#include <chrono>
#include <mutex>
#include <string>

namespace ds {

class Progress {
public:
  /// `mode`: auto, on or off.
  explicit Progress(const std::string &mode);
  ~Progress() { finish(); }

  /// Begins a stage; the time of the last one is kept on the screen.
  void stage(const std::string &name);
  /// Shows how far the stage is. May be called from any thread.
  void advance(int64_t done, int64_t total);
  /// Ends the last stage.
  void finish();

private:
  using Clock = std::chrono::steady_clock;
  void draw(const std::string &suffix);

  bool shown;
  std::mutex lock;
  std::string name;
  Clock::time_point begin, drawn;
};

} // namespace ds
#endif // TOOLS_DS_COMPILE_PROGRESS_H
