// Command secured runs waybill on a real Kafka that encrypts, asks everybody who they are, and allows
// nothing that no ACL allows.
//
// Every role is a user of its own, with the rights of `waybill topics acls` and no others: machines, agents,
// an agent of somebody else (greeter), projections with API, a publisher, a subscriber and an operator. The
// operator creates the topics; the publisher starts a job with an input of 400 KB that both kinds of agents
// work on; the subscriber is told of its end. Checked are:
//
//   - the job completes, and its output comes whole;
//   - serve refuses to start before the topics are there, and against topics that are wrong, and describe
//     finds each of them out;
//   - an activity type whose topic nobody has created holds up nobody else, shows in readiness, and goes on
//     once the operator has created it;
//   - a role with one right fewer ends with code 4, or is not ready, and names the right; nothing hangs: some
//     rights of each role, with -full each of all;
//   - a right that is taken away from a running server is named by its readiness, and it goes on once the right is back;
//   - a wrong password, user, mechanism, authority, address without TLS, and certificate are told within
//     seconds, with code 4 and what to do;
//   - PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and certificates alone let a user in;
//   - a password that is changed, in the broker and in its file, lets new connections of a running process in;
//   - no password stands in any output or on any command line.
package main
