// Says which outseal it was built with.
#include <outseal/outseal.h>

#include <iostream>

int main() { std::cout << OUTSEAL_VERSION "\n"; }
