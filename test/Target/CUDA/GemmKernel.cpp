#include "GemmKernel.h"
#include "NarrowCache.h"

using namespace ds;
using namespace ds::test;

static Product withHeads(TileType type, int64_t heads, int64_t size, const std::string &rope, int64_t rotary, const std::string &store,
                         bool result) {
  Product product{heads * size, type};
  product.heads = heads;
  product.rope = rope;
  product.rotary = rotary;
  product.store = store;
  product.result = result;
  return product;
}

GemmShape ds::test::attentionInput(TileType type, int64_t size, const std::string &rope, int64_t rotary, int64_t context, bool result) {
  GemmShape shape{64, {}, "rms_norm", false, context};
  shape.products = {withHeads(type, 4, size, rope, rotary, "", true), withHeads(type, 2, size, rope, rotary, "keys", result),
                    withHeads(type, 2, size, "", 0, "values", result)};
  shape.products[0].bias = shape.products[2].bias = true;
  return shape;
}

static constexpr int64_t positions = 64;

static std::string number(int64_t value) { return std::to_string(value); }
static std::string rowsTensor(int64_t width) { return "tensor<?x?x" + number(width) + "xf32>"; }
static std::string vectorTensor(int64_t width) { return "tensor<" + number(width) + "xf32>"; }

int64_t GemmShape::cacheBytes(const Product &product) const {
  if (product.store.empty())
    return 0;
  return isNarrow() ? NarrowCache::bytesOf(codes, product.heads, product.columns / product.heads, context) : context * product.columns * 4;
}

/// Memory and sizes of one step.
struct GemmKernel::Step {
  Step(const GemmKernel &kernel, int32_t batch, int32_t tokens)
      : batch(batch), tokens(tokens), rows(int64_t(batch) * tokens),
        capacity(kernel.shape.context ? kernel.shape.context : (tokens + 15) / 16 * 16), weights(kernel.weights.size()) {
    memcpy(weights.as<uint8_t>(), kernel.weights.data(), kernel.weights.size());
    Numbers numbers(rows + kernel.shape.depth);
    auto add = [&](int64_t count) -> Floats & { return *memory.emplace_back(std::make_unique<Floats>(count)); };
    auto fill = [&](int64_t width) {
      Floats &floats = add(rows * width);
      for (int64_t i = 0; i < floats.count; ++i)
        floats[i] = numbers.next();
    };
    fill(kernel.shape.depth);
    for (int64_t i = 0; i < memory[0]->count; ++i) {
      float &value = (*memory[0])[i];
      value = std::ldexp(value, static_cast<int>(i / kernel.shape.depth % 3 * 10)) + 0.25f; // rows far apart
      if (kernel.adjust)
        value = kernel.adjust(i, value);
    }
    for (const Product &product : kernel.shape.products) {
      residuals.push_back(memory.size());
      if (product.residual)
        fill(product.columns);
    }
    firstResult = memory.size();
    if (kernel.shape.normIsResult)
      add(rows * kernel.shape.depth);
    for (const Product &product : kernel.shape.products) {
      results.push_back(memory.size());
      if (product.result)
        add(rows * product.columns);
      packed.push_back(memory.size());
      if (!product.store.empty() && !kernel.shape.context)
        add(batch * capacity * product.columns);
    }
    for (int64_t b = 0; b < batch && kernel.cacheBytes; ++b)
      caches.push_back(std::make_unique<Floats>(kernel.cacheBytes / 4)); // of NaN, two bytes of which are 0x7fc0 and two 0
    for (int64_t row = 0; row < rows; ++row)
      position.push_back(static_cast<int32_t>(row * 7 % positions));
    for (int32_t b = 0; b < batch; ++b)
      past.push_back(b == 0 ? 13 : b * 3);
  }

  float x(int64_t row, int64_t k) const { return (*memory[0])[row * (memory[0]->count / rows) + k]; }

  int32_t batch, tokens;
  int64_t rows, capacity;
  GuardedBytes weights;
  std::vector<std::unique_ptr<Floats>> memory, caches; // by the number of the output; of each sequence
  std::vector<size_t> residuals, results, packed;      // of each product, in `memory`
  size_t firstResult = 0;
  std::vector<int32_t> position, past;
};

std::string GemmKernel::weight(const std::string &layout, const std::string &type, const std::string &tensor, const void *data,
                               size_t bytes) {
  const size_t offset = (weights.size() + 63) / 64 * 64;
  weights.resize(offset, 0xff);
  weights.insert(weights.end(), static_cast<const uint8_t *>(data), static_cast<const uint8_t *>(data) + bytes);
  if (tensor.empty())
    return plan.weight(layout, static_cast<int64_t>(offset), type, "rope {}");
  std::string name = "@w" + number(static_cast<int64_t>(offset));
  parameters += "ds.parameter " + name + " from \"" + name + "\" : " + tensor + "\n";
  return plan.weight(layout, static_cast<int64_t>(offset), type, "of " + name);
}

std::string GemmKernel::vector(int64_t width, std::vector<float> &values) {
  const int64_t padded = (width + 31) / 32 * 32;
  values = Numbers(width + static_cast<int64_t>(weights.size())).take(width);
  std::vector<float> stored(values);
  stored.resize(padded, 0);
  return weight("vector", "memref<" + number(padded) + "xf32>", vectorTensor(width), stored.data(), padded * 4);
}

void GemmKernel::argument(const std::string &name, const std::string &type, const std::string &operand) {
  head += (head.empty() ? "^bb0(" : ", ") + name + ": " + type;
  ins.push_back(operand);
}

GemmKernel::GemmKernel(const GemmShape &shape) : shape(shape), matrices(shape.products.size()) {
  const std::string t = rowsTensor(shape.depth), v = vectorTensor(shape.depth);
  for (const Product &product : shape.products)
    hasRope |= !product.rope.empty();
  argument("%x", t, plan.rows("tokens", shape.depth));
  for (size_t i = 0; i < shape.products.size(); ++i)
    if (const Product &product = shape.products[i]; product.residual)
      argument("%r" + std::to_string(i), rowsTensor(product.columns), plan.rows("tokens", product.columns));
  if (hasRope)
    argument("%pos", "tensor<?x?xi32>", plan.indices("tokens"));
  if (shape.context)
    argument("%past", "tensor<?xi32>", plan.indices("batch"));
  auto give = [&](const std::string &value, const std::string &type, const std::string &operand) {
    returned += (returned.empty() ? "" : ", ") + value;
    returnedTypes += (returnedTypes.empty() ? "" : ", ") + type;
    outs.push_back(operand);
  };
  if (!shape.norm.empty()) {
    const bool layer = shape.norm == "layer_norm";
    argument("%g", v, vector(shape.depth, gain));
    if (layer)
      argument("%s", v, vector(shape.depth, shift));
    body += "  %n = ds." + shape.norm + " %x, %g " + (layer ? "bias %s " : "") + "eps 1.0e-5 : " + t + ", " + v + (layer ? ", " + v : "") +
            "\n";
    if (shape.normIsResult)
      give("%n", t, plan.rows("tokens", shape.depth));
  }
  for (size_t i = 0; i < shape.products.size(); ++i) {
    addProduct(i);
    const Product &product = shape.products[i];
    std::string name = names[i], kept = "tensor<?x" + (shape.context ? number(shape.context) : std::string("?")) + "x" +
                                        number(product.columns) + "x" +
                                        (shape.isNarrow() ? narrowElement(shape.codes, product.columns / product.heads) : "f32") + ">";
    if (product.result)
      give(name, rowsTensor(product.columns), plan.rows("tokens", product.columns));
    if (product.store.empty())
      continue;
    body += "  %c" + std::to_string(i) + " = ds_plan.store_cache " + product.store + " heads " + number(product.heads) + " " + name +
            (shape.context ? " past %past : " : " : ") + rowsTensor(product.columns) + (shape.context ? ", tensor<?xi32>" : "") + " -> " +
            kept + "\n";
    give("%c" + std::to_string(i), kept,
         shape.context ? plan.cache(product.store, product.heads, cacheBytes, shape.context, product.columns,
                                    shape.isNarrow() ? narrowStored(shape.codes) : "f32")
                       : plan.rows("packed", product.columns));
    cacheBytes += shape.cacheBytes(product);
  }
}

/// Makes `%yI` of product I.
void GemmKernel::addProduct(size_t index) {
  const Product &product = shape.products[index];
  const std::string i = std::to_string(index), t = rowsTensor(product.columns), v = vectorTensor(product.columns);
  for (int which = 0; which < (product.gates ? 2 : 1); ++which) {
    const std::string j = i + "_" + std::to_string(which);
    TileMatrix matrix(product.type, product.columns, shape.depth, index * 2 + which);
    matrices[index].values[which] = matrix.values;
    argument("%w" + j, matrix.tensor(),
             weight(product.type.layout(), matrix.memref(), matrix.tensor(), matrix.bytes.as<uint8_t>(), matrix.bytes.size()));
    if (product.bias)
      argument("%b" + j, v, vector(product.columns, matrices[index].bias[which]));
    body += "  %l" + j + " = ds.linear " + (shape.norm.empty() ? "%x" : "%n") + ", %w" + j + (product.bias ? " bias %b" + j : "") + " : " +
            rowsTensor(shape.depth) + ", " + matrix.tensor() + (product.bias ? ", " + v : "") + "\n";
  }
  std::vector<std::pair<std::string, std::string>> ops; // what stands before and behind the value
  if (!product.op.empty())
    ops.emplace_back(product.op, " : " + t);
  if (product.gates)
    ops.emplace_back("mul", ", %l" + i + "_1 : " + t);
  if (product.residual)
    ops.emplace_back("add", ", %r" + i + " : " + t);
  if (!product.rope.empty()) {
    ops.emplace_back("rope " + product.rope, ", %pos heads " + number(product.heads) + " rotary " + number(product.rotary) +
                                                 " base 1.0e4 : " + t + ", tensor<?x?xi32>");
    std::vector<float> table;
    for (int64_t position = 0; position < positions; ++position)
      for (bool sine : {false, true})
        for (int64_t d = 0; d < product.rotary / 2; ++d)
          table.push_back(static_cast<float>(angle(product, position, d, sine)));
    aux.push_back(
        weight("rope", "memref<" + number(positions) + "x2x" + number(product.rotary / 2) + "xf32>", "", table.data(), table.size() * 4));
  }
  names.push_back("%l" + i + "_0");
  for (const auto &[op, rest] : ops) {
    const std::string made = "%m" + i + "_" + std::to_string(body.size());
    body += "  " + made + " = ds." + op + " " + names[index] + rest + "\n";
    names[index] = made;
  }
}

double GemmKernel::angle(const Product &product, int64_t position, int64_t d, bool sine) {
  const double angle =
      static_cast<double>(position) * std::pow(10000.0, -2.0 * static_cast<double>(d) / static_cast<double>(product.rotary));
  return sine ? std::sin(angle) : std::cos(angle);
}

std::string GemmKernel::text(int64_t maxRows) const {
  std::string text =
      parameters + plan.text("gemm", head + "):\n" + body + "  ds_plan.return " + returned + " : " + returnedTypes + "\n", ins, outs, aux);
  const std::string bounds = "max_batch 64 max_rows 4096";
  return text.replace(text.find(bounds), bounds.size(),
                      "max_batch " + number(std::min<int64_t>(maxRows, 64)) + " max_rows " + number(maxRows));
}

std::string GemmKernel::name() const {
  std::string name = "depth " + number(shape.depth) + " " + shape.norm;
  for (const Product &product : shape.products)
    name += "; " + number(product.columns) + " " + product.type.text() + " " + product.op + " " + product.rope + " " + product.store +
            " heads " + number(product.heads);
  return name;
}

std::vector<std::vector<float>> GemmKernel::run(const EmulatedPlan &code, int32_t batch, int32_t tokens, std::string &error) const {
  Step step(*this, batch, tokens);
  error = run(code, step, 5);
  std::vector<std::vector<float>> written;
  for (size_t i = step.firstResult; i < step.memory.size(); ++i)
    written.emplace_back(all(*step.memory[i]).begin(), all(*step.memory[i]).end());
  for (const auto &cache : step.caches)
    written.emplace_back(all(*cache).begin(), all(*cache).end());
  return written;
}

std::string GemmKernel::run(const EmulatedPlan &code, Step &step, size_t seeds) const {
  EmulatedStep emulated;
  emulated.batch = step.batch;
  emulated.tokens = step.tokens;
  if (hasRope)
    emulated.inputs.push_back(step.position);
  if (shape.context)
    emulated.inputs.push_back(step.past);
  for (const auto &floats : step.memory)
    emulated.outputs.push_back(all(*floats));
  for (const auto &cache : step.caches)
    emulated.kv.push_back(all(*cache));
  emulated.weights = bytesOf(step.weights);
  return code.run(emulated, seeds);
}

/// What the products read.
GemmKernel::Rows GemmKernel::inputOf(const Step &step) const {
  const int64_t depth = shape.depth;
  Rows rows(step.rows, std::vector<double>(depth));
  for (int64_t row = 0; row < step.rows; ++row) {
    double mean = 0, squares = 0;
    for (int64_t k = 0; k < depth; ++k)
      mean += static_cast<double>(step.x(row, k)) / static_cast<double>(depth);
    if (shape.norm != "layer_norm")
      mean = 0;
    for (int64_t k = 0; k < depth; ++k) {
      rows[row][k] = step.x(row, k) - mean;
      squares += rows[row][k] * rows[row][k] / static_cast<double>(depth);
    }
    for (int64_t k = 0; k < depth && !shape.norm.empty(); ++k)
      rows[row][k] = rows[row][k] / std::sqrt(squares + 1e-5) * gain[k] + (shift.empty() ? 0 : shift[k]);
  }
  return rows;
}

/// To a significand of `bits`, ties to even.
static double rounded(double value, int bits) {
  int exponent;
  const double fraction = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, bits)), exponent - bits);
}

/// Rows are rounded to bf16, or beside f16 and codes to f16 with an exponent of their own; so are weights that codes stand for.
GemmKernel::Rows GemmKernel::productOf(const Step &step, const Rows &exact, size_t index, size_t which) const {
  const int64_t columns = shape.products[index].columns, depth = shape.depth;
  const TileType type = shape.products[index].type;
  const bool codes = type.bits < 16, halves = codes || type.f16;
  Matrices of = matrices[index];
  Rows x = exact, rows(step.rows, std::vector<double>(columns));
  for (std::vector<double> &row : x)
    for (double &value : row)
      value = rounded(static_cast<float>(value), halves ? 11 : 8);
  for (float &value : of.values[which])
    value = codes ? static_cast<float>(rounded(value, 11)) : value;
  for (int64_t row = 0; row < step.rows; ++row)
    for (int64_t n = 0; n < columns; ++n) {
      const float *w = of.values[which].data() + n * depth;
      double sum = of.bias[which].empty() ? 0 : of.bias[which][n];
      for (int64_t k = 0; k < depth; ++k)
        sum += x[row][k] * w[k];
      rows[row][n] = sum;
    }
  return rows;
}

void GemmKernel::turn(const Step &step, const Product &product, Rows &rows) {
  const int64_t size = product.columns / product.heads, rotary = product.rotary;
  const bool half = product.rope == "half";
  for (int64_t row = 0; row < step.rows; ++row) {
    const std::vector<double> before = rows[row];
    for (int64_t n = 0; n < product.columns; ++n) {
      const int64_t d = n % size, pair = half ? d % (rotary / 2) : d / 2;
      if (d >= rotary)
        continue;
      const bool first = half ? d < rotary / 2 : d % 2 == 0;
      const int64_t distance = half ? rotary / 2 : 1, other = first ? n + distance : n - distance;
      rows[row][n] = before[n] * angle(product, step.position[row], pair, false) +
                     (first ? -1 : 1) * before[other] * angle(product, step.position[row], pair, true);
    }
  }
}

GemmKernel::Rows GemmKernel::exact(const Step &step, const Rows &x, size_t index) const {
  const Product &product = shape.products[index];
  Rows rows = productOf(step, x, index, 0), other;
  if (product.gates)
    other = productOf(step, x, index, 1);
  for (int64_t row = 0; row < step.rows; ++row)
    for (int64_t n = 0; n < product.columns; ++n) {
      double &value = rows[row][n];
      if (product.op == "silu")
        value = value / (1 + std::exp(-value));
      else if (product.op == "gelu erf")
        value = 0.5 * value * std::erfc(-value / std::sqrt(2.0));
      if (product.gates)
        value *= other[row][n];
      if (product.residual)
        value += (*step.memory[step.residuals[index]])[row * product.columns + n];
    }
  if (!product.rope.empty())
    turn(step, product, rows);
  return rows;
}

void GemmKernel::compare(const std::string &what, const Rows &want, const std::function<float(int64_t, int64_t)> &got, double most) const {
  for (int64_t row = 0; row < static_cast<int64_t>(want.size()); ++row) {
    const auto columns = static_cast<int64_t>(want[row].size());
    double error = 0, power = 0;
    for (int64_t n = 0; n < columns; ++n) {
      const double difference = got(row, n) - want[row][n];
      error += difference * difference;
      power += want[row][n] * want[row][n];
    }
    ASSERT_LE(error, most * power) << what << ", row " << row << " of " << want.size() << " of " << name();
    const double allowed = 8 * std::sqrt(most);
    for (int64_t n = 0; n < columns; ++n)
      ASSERT_NEAR(got(row, n), want[row][n], allowed * (std::sqrt(power / static_cast<double>(columns)) + std::fabs(want[row][n])))
          << what << ", row " << row << " of " << want.size() << ", column " << n << " of " << name();
  }
}

void GemmKernel::checkStore(const Step &step, size_t index, const Rows &want, double most) const {
  const Product &product = shape.products[index];
  const int64_t size = product.columns / product.heads, capacity = step.capacity;
  int64_t first = 0; // of the cache in a block
  for (size_t i = 0; i < index; ++i)
    first += shape.products[i].store.empty() ? 0 : shape.context * shape.products[i].columns;
  auto at = [&](int64_t b, int64_t slot, int64_t n) {
    const int64_t h = n / size, d = n % size;
    const int64_t place =
        product.store == "keys" ? ((h * capacity / 16 + slot / 16) * size + d) * 16 + slot % 16 : (h * capacity + slot) * size + d;
    return shape.context ? (*step.caches[b])[first + place] : (*step.memory[step.packed[index]])[b * capacity * product.columns + place];
  };
  Rows stored;
  std::vector<std::pair<int64_t, int64_t>> places;
  for (int64_t b = 0; b < step.batch; ++b) {
    const int64_t past = shape.context ? step.past[b] : 0;
    for (int64_t slot = 0; slot < capacity; ++slot) {
      if (slot >= past && slot < past + step.tokens) {
        stored.push_back(want[b * step.tokens + slot - past]);
        places.emplace_back(b, slot);
        continue;
      }
      for (int64_t n = 0; n < product.columns; ++n)
        ASSERT_TRUE(std::isnan(at(b, slot, n))) << product.store << ", slot " << slot << " of sequence " << b << " of " << name();
    }
  }
  compare(product.store, stored, [&](int64_t row, int64_t n) { return at(places[row].first, places[row].second, n); }, most);
}

void GemmKernel::checkNarrow(const Step &step, size_t index, const Rows &want) const {
  const Product &product = shape.products[index];
  const int64_t size = product.columns / product.heads;
  int64_t first = 0; // of the cache in a block
  for (size_t i = 0; i < index; ++i)
    first += shape.cacheBytes(shape.products[i]);
  const bool keys = product.store == "keys";
  const Floats fresh(NarrowCache::bytesOf(shape.codes, product.heads, size, shape.context) / 4);
  for (int64_t b = 0; b < step.batch; ++b) {
    const NarrowCache found{step.caches[b]->as<uint8_t>() + first, keys, shape.codes, size, shape.context};
    const NarrowCache untouched{fresh.as<uint8_t>(), keys, shape.codes, size, shape.context};
    for (int64_t slot = 0; slot < shape.context; ++slot)
      for (int64_t h = 0; h < product.heads; ++h) {
        const std::string where = product.store + ", slot " + number(slot) + ", head " + number(h) + " of sequence " + number(b) + " of ";
        const int64_t row = b * step.tokens + slot - step.past[b];
        if (slot < step.past[b] || slot >= step.past[b] + step.tokens) {
          for (int64_t d = 0; d < size; ++d)
            ASSERT_EQ(memcmp(found.place(h, slot, d), untouched.place(h, slot, d), found.elementBytes()), 0) << where << name();
          ASSERT_TRUE(!shape.codes || std::isnan(found.scale(h, slot))) << where << name();
          continue;
        }
        float largest = 0;
        std::vector<float> values(size);
        for (int64_t d = 0; d < size; ++d) {
          values[d] = product.result ? (*step.memory[step.results[index]])[row * product.columns + h * size + d]
                                     : static_cast<float>(want[row][h * size + d]);
          largest = std::max(largest, std::fabs(values[d]));
        }
        for (int64_t d = 0; d < size; ++d) {
          // Half a unit of the last place, or half a code; what sums of another order add where there is no result to compare with.
          const double unit = shape.codes ? found.scale(h, slot) / 2 : std::fabs(values[d]) * 0x1p-8;
          ASSERT_NEAR(found.value(h, slot, d), values[d], unit * 1.0001 + (product.result ? 0 : 2e-3 * largest)) << where << name();
        }
        if (shape.codes && product.result)
          ASSERT_EQ(found.scale(h, slot), largest / 127.0f) << where << name();
      }
  }
}

void GemmKernel::check(const EmulatedPlan &code, int32_t batch, int32_t tokens, size_t seeds) const {
  Step step(*this, batch, tokens);
  ASSERT_EQ(run(code, step, seeds), "") << batch << " x " << tokens << " rows of " << name();
  const Rows x = inputOf(step);
  auto rowsOf = [&](size_t output, int64_t width) {
    return [&step, output, width](int64_t row, int64_t n) { return (*step.memory[output])[row * width + n]; };
  };
  if (shape.normIsResult)
    compare("the norm", x, rowsOf(step.firstResult, shape.depth), 1e-10);
  for (size_t i = 0; i < shape.products.size(); ++i) {
    const Product &product = shape.products[i];
    const Rows want = exact(step, x, i);
    // With a norm some values are rounded to the other side; with offsets so are products of codes and scales.
    const double most = product.type.asymmetric ? 5e-6 : shape.norm.empty() ? 1e-11 : 1e-7;
    if (product.result)
      compare("result " + std::to_string(i), want, rowsOf(step.results[i], product.columns), most);
    if (!product.store.empty() && shape.isNarrow())
      checkNarrow(step, i, want);
    else if (!product.store.empty())
      checkStore(step, i, want, most);
    if (testing::Test::HasFatalFailure())
      return;
  }
}
