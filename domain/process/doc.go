// Package process holds the process managers between orchestrations and the machines that carry
// their activities out: a retrieve or a transfer is a transfer, an acquire is a wish at a
// negotiation.
//
// They are pure: of the work that an orchestration asks for, and of the word that it is no longer
// wanted, they make commands to the other machine, which go with it in the same transaction. The other
// machine answers the activity itself, with the reports that an agent would have made. Until then the
// activity waits.
//
// A transfer is one attempt at an activity (TransferID): what passes is the activity's own policy to
// try again, and each further attempt is a transfer of its own.
package process
