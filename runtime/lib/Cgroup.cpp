// Formats: cgroups(7) and Documentation/admin-guide/cgroup-v2.rst of the kernel.
#include "runtime/lib/Cgroup.h"
#include <algorithm>
#include <charconv>
#include <cstdio>

using namespace dsrt;

std::string dsrt::readSmallFile(const std::string &path) {
  std::string text;
  FILE *file = std::fopen(path.c_str(), "re");
  if (!file)
    return text;
  char buffer[4096];
  while (size_t count = std::fread(buffer, 1, sizeof(buffer), file))
    text.append(buffer, count);
  std::fclose(file);
  return text;
}

int64_t dsrt::takeNumber(std::string_view &text) {
  while (!text.empty() && text.front() == ' ')
    text.remove_prefix(1);
  int64_t number = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(end - text.data());
  return error == std::errc() ? number : -1;
}

static bool lists(std::string_view controllers, std::string_view controller) {
  while (!controllers.empty()) {
    size_t end = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, end) == controller)
      return true;
    controllers.remove_prefix(std::min(end + 1, controllers.size()));
  }
  return false;
}

void dsrt::forEachCgroup(std::string_view procCgroup, const std::string &root, std::string_view controller,
                         const std::function<void(const std::string &folder, bool unified)> &visit) {
  auto upwards = [&](const std::string &mount, std::string group, bool unified) {
    while (true) {
      while (!group.empty() && group.back() == '/')
        group.pop_back();
      visit(mount + group, unified);
      if (group.empty())
        return;
      group.resize(group.find_last_of('/') == std::string::npos ? 0 : group.find_last_of('/'));
    }
  };
  while (!procCgroup.empty()) {
    size_t end = std::min(procCgroup.find('\n'), procCgroup.size());
    std::string_view line = procCgroup.substr(0, end);
    procCgroup.remove_prefix(std::min(end + 1, procCgroup.size()));
    size_t first = line.find(':'), second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos)
      continue;
    std::string_view controllers = line.substr(first + 1, second - first - 1);
    std::string group(line.substr(second + 1));
    if (controllers.empty()) {
      upwards(root, group, true);
      upwards(root + "/unified", group, true);
    } else if (lists(controllers, controller)) {
      upwards(root + "/" + std::string(controller), group, false);
      upwards(root + "/" + std::string(controllers), group, false);
    }
  }
}
