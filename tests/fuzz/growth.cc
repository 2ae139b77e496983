// Whether a target's time grows with the size of its input, not with its square.
//
//   growth_TARGET CORPUS   prints the processor time of inputs of 4 KiB and of 64 KiB, made from
//                          the corpus, and ends with 1 if any took more than 4 times too long
//
// Inputs are made to be hard: each file of the corpus, each line of it and each of some characters
// repeated, alone and in the middle of the file. Sixteen times the size takes 16 times as long
// where all is well, and 256 times where it is not; what is below a millisecond is not judged.
#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"

namespace {

constexpr std::size_t kSmall = 4U << 10U;
constexpr std::size_t kFactor = 16;
constexpr double kTolerance = 4;
constexpr double kJudged_s = 0.001;

double seconds(const std::string& input) {
  timespec before{};
  timespec after{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
  return static_cast<double>(after.tv_sec - before.tv_sec) +
         static_cast<double>(after.tv_nsec - before.tv_nsec) / 1e9;
}

struct Shape {
  std::string head;
  std::string unit;
  std::string tail;

  std::string of_size(std::size_t bytes) const {
    std::string input = head;
    while (input.size() < bytes) input += unit;
    return input + tail;
  }
};

std::vector<Shape> shapes_of(const std::string& file) {
  std::vector<std::string> units{file};
  for (const char c : std::string_view{"[{\"\\,:.%&=? \n\r\0001/-A\xff", 20})
    units.emplace_back(1, c);
  for (std::size_t begin = 0; begin < file.size();) {
    const auto end = std::min(file.find('\n', begin), file.size() - 1);
    units.push_back(file.substr(begin, end + 1 - begin));
    begin = end + 1;
  }
  std::vector<Shape> shapes;
  const std::size_t middle = file.size() / 2;
  for (const std::string& unit : units) {
    shapes.push_back({"", unit, ""});
    shapes.push_back({file.substr(0, middle), unit, file.substr(middle)});
  }
  return shapes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  double total = 0;
  double worst = 0;
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator{argv[1]}) {
    std::ifstream in{entry.path(), std::ios::binary};
    const std::string file{std::istreambuf_iterator<char>{in}, {}};
    if (file.empty()) continue;
    for (const Shape& shape : shapes_of(file)) {
      const std::string large = shape.of_size(kSmall * kFactor);
      const double large_s = seconds(large);
      total += large_s;
      ++count;
      if (large_s < kJudged_s) continue;
      const double small_s = std::max(seconds(shape.of_size(kSmall)), kJudged_s / kFactor);
      const double ratio = large_s / small_s / kFactor;
      worst = std::max(worst, ratio);
      if (ratio <= kTolerance) continue;
      std::cerr << entry.path().filename() << ": " << ratio << " times too long with unit \""
                << shape.unit.substr(0, 40) << "\": " << small_s << " s, then " << large_s
                << " s\n";
      return 1;
    }
  }
  std::cout << count << " shapes of 64 KiB in " << total << " s, time per size at most " << worst
            << " times that of 4 KiB\n";
  return count == 0 ? 1 : 0;
}
