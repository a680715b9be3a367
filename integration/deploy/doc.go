// Command deploy shows that what is in deploy/ works: the images, built on nothing at all
// around the static binary, run with the arguments and settings of the manifests, as
// nobody, without any capability, on a read-only file system.
//
// Of the manifests it checks here that the program takes their arguments, settings and
// environment; whether Kubernetes would take them is a test in manifests/, with the types
// of its API, in a module of its own so that nobody else has to have them; whether systemd
// takes the unit is asked of systemd-analyze, where there is one. Then it runs:
//
//   - a server as in standalone.yaml, without its agents, and beside it agents as in
//     cluster.yaml and a ready-made one: ready, the token is asked for, a job is done by the
//     agents; they stop in good order; after a restart of the server's container the job is
//     still there;
//   - a server that could be reached by anybody, which it refuses;
//   - the pipeline's image as it is: the job has been started and can be asked for on port
//     8089; and with services that answer, and with one that refuses: the container ends
//     with the exit code of the pipeline, and says how it went.
//
// It prints the figures, and exits with 0 only if all of this was so.
package main
