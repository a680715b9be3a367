package seal

// What secrets are sealed for, in the one place that those who seal and those who open share.

// EDR is for endpoint data references that were got through a connector of ours.
func EDR(connector string) string { return "edr " + connector }

// Transfer is for whatever belongs to one transfer: secret members of where it is sent to, and
// what its provisioners hand out.
func Transfer(id string) string { return "transfer " + id }
