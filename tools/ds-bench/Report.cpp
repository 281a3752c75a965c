#include "Report.h"
#include <cctype>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

static double mean(const std::vector<double> &values) {
  double sum = 0;
  for (double value : values)
    sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

static double deviation(const std::vector<double> &values) {
  double center = mean(values), sum = 0;
  for (double value : values)
    sum += (value - center) * (value - center);
  return values.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(values.size() - 1));
}

std::string Row::backend() const {
  std::string text = device.substr(0, device.find(':'));
  for (char &letter : text)
    letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  return text;
}

double Row::meanNs() const { return mean({samples.begin(), samples.end()}); }
double Row::deviationNs() const { return deviation({samples.begin(), samples.end()}); }
double Row::meanSpeed() const { return mean(speeds()); }
double Row::deviationSpeed() const { return deviation(speeds()); }

std::vector<double> Row::speeds() const {
  std::vector<double> values;
  for (int64_t sample : samples)
    values.push_back(1e9 * static_cast<double>(test.tokens()) / static_cast<double>(sample > 0 ? sample : 1));
  return values;
}

static std::string cpuModel() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != line.npos)
      return line.substr(line.find(": ") + 2);
  return "unknown";
}

Row describe(const dsrt_model *model, const Test &test) {
  dsrt_info info = {};
  info.size = sizeof(info);
  dsrt_get_info(model, &info);
  Row row;
  row.packagePath = info.path;
  row.modelName = info.name;
  row.family = info.family;
  row.producer = info.producer;
  row.weightsDtype = info.weights_dtype;
  row.level = info.level;
  row.cpu = cpuModel();
  row.device = info.device;
  row.gpu = info.device_name;
  row.packageVersion = info.package_version;
  row.threads = info.threads;
  row.modelSize = info.weights_bytes;
  row.modelParameters = info.parameters;
  row.decoder = info.is_decoder != 0;
  row.test = test;
  char text[32];
  std::time_t now = std::time(nullptr);
  std::tm utc;
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  row.date = text;
  return row;
}

static nlohmann::ordered_json toJson(const Row &row) {
  return {{"dsrt_version", dsrt_version()},
          {"producer", row.producer},
          {"package_version", row.packageVersion},
          {"cpu_info", row.cpu},
          {"cpu_level", row.gpu.empty() ? row.level : ""},
          {"gpu_info", row.gpu},
          {"gpu_arch", row.gpu.empty() ? "" : row.level},
          {"backends", row.backend()},
          {"model_filename", row.packagePath},
          {"model_name", row.modelName},
          {"model_type", row.family + " " + row.weightsDtype},
          {"model_size", row.modelSize},
          {"model_n_params", row.modelParameters},
          {"n_batch", row.test.batch},
          {"n_threads", row.threads},
          {"n_prompt", row.test.prompt},
          {"n_gen", row.test.generated},
          {"test", row.test.name(row.decoder)},
          {"test_time", row.date},
          {"avg_ns", std::llround(row.meanNs())},
          {"stddev_ns", std::llround(row.deviationNs())},
          {"avg_ts", row.meanSpeed()},
          {"stddev_ts", row.deviationSpeed()},
          {"samples_ns", row.samples},
          {"samples_ts", row.speeds()}};
}

static std::string dump(const nlohmann::ordered_json &value, int indent = -1) {
  return value.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

static std::string csvField(const nlohmann::ordered_json &value) {
  std::string text = value.is_string() ? value.get<std::string>() : dump(value), quoted = "\"";
  for (char byte : text)
    quoted += byte == '"' ? "\"\"" : std::string(1, byte);
  return quoted + "\"";
}

static std::string sizeText(double bytes) {
  char text[32];
  if (bytes >= 1 << 30)
    std::snprintf(text, sizeof(text), "%.2f GiB", bytes / (1 << 30));
  else
    std::snprintf(text, sizeof(text), "%.2f MiB", bytes / (1 << 20));
  return text;
}

static std::string countText(double count) {
  char text[32];
  if (count >= 1e9)
    std::snprintf(text, sizeof(text), "%.2f B", count / 1e9);
  else
    std::snprintf(text, sizeof(text), "%.2f M", count / 1e6);
  return text;
}

void Report::begin() {
  if (format == Format::md)
    std::printf("| %-30s | %10s | %10s | %-10s | %7s | %s%15s | %20s |\n| %s | %s: | %s: | %s | %s: | %s%s: | %s: |\n", "model", "size",
                "params", "backend", "threads", showBatch ? "batch | " : "", "test", "t/s", std::string(30, '-').c_str(),
                std::string(9, '-').c_str(), std::string(9, '-').c_str(), std::string(10, '-').c_str(), std::string(6, '-').c_str(),
                showBatch ? "----: | " : "", std::string(14, '-').c_str(), std::string(19, '-').c_str());
}

void Report::add(const Row &row) {
  nlohmann::ordered_json json = toJson(row);
  if (format == Format::md) {
    std::string model = row.modelName + " " + row.weightsDtype, batch;
    char speed[64], number[32];
    std::snprintf(speed, sizeof(speed), "%.2f ± %.2f", row.meanSpeed(), row.deviationSpeed());
    std::snprintf(number, sizeof(number), "%5d | ", row.test.batch);
    batch = showBatch ? number : "";
    // The sign takes two bytes, one column.
    std::printf("| %-30s | %10s | %10s | %-10s | %7d | %s%15s | %21s |\n", model.c_str(),
                sizeText(static_cast<double>(row.modelSize)).c_str(), countText(static_cast<double>(row.modelParameters)).c_str(),
                row.backend().c_str(), row.threads, batch.c_str(), row.test.name(row.decoder).c_str(), speed);
  } else if (format == Format::jsonl) {
    std::printf("%s\n", dump(json).c_str());
  } else if (format == Format::json) {
    std::printf("%s%s", first ? "[\n" : ",\n", dump(json, 2).c_str());
  } else {
    json.erase("samples_ns");
    json.erase("samples_ts");
    std::string names, values;
    for (const auto &[name, value] : json.items()) {
      names += (names.empty() ? "" : ",") + name;
      values += (values.empty() ? "" : ",") + csvField(value);
    }
    if (first)
      std::printf("%s\n", names.c_str());
    std::printf("%s\n", values.c_str());
  }
  first = false;
  std::fflush(stdout);
}

void Report::end() {
  if (format == Format::json)
    std::printf("%s]\n", first ? "[" : "\n");
  if (format == Format::md)
    std::printf("\ndsrt %s\n", dsrt_version());
}
