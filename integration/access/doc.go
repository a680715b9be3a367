// Command access shows that access to providers is shared, bounded and survives, on the program
// itself and a stand-in connector that counts:
//
//	cases   the same part at once by 2 jobs and by 200: the registry and each submodel are
//	        negotiated once, each document is fetched once per job; a later job negotiates nothing
//	limits  two servers on one broker, 1,000 assets of one provider: never more than 5 catalog
//	        requests, negotiations and new EDRs are under way there at once
//	terminations  a provider is told exactly once, and only if it was ever asked; a pull tells nobody
//	kills   serve is killed with SIGKILL while it waits, in each state of a pull, a push, a
//	        provisioning and a suspension; what was asked for is done once
//
// In the end of each the history checker reads the log, and the view is what a fresh replay has. The flag
// -brokers has it played on any Kafka.
package main
