// Package provisioners makes what a transfer needs before it is requested, somewhere for a
// provider to push to say, reads what has landed there, and takes it away again: the agents
// of the work types provision, collect and deprovision.
//
//	err := provisioners.Register(pool, provisioners.Config{
//		Provisioners: settings, Keys: keys, Secrets: store, Addresses: addresses,
//	})
//
// Which provisioner does it is said by the type of a resource definition in the transfer's
// manifest, and which there are by Settings: one entry for each type. An entry's adapter is
//
//   - local: hands out an address of our own that data can be pushed to once. What is pushed
//     goes over the log, like every large value: whichever process receives it, every agent
//     can collect it, and no disk is shared. A type "local" is there without an entry.
//   - s3: hands out a place of its own in a bucket.
//   - http: asks another system, which reports by callback; it speaks as EDC's HTTP
//     provisioner does.
//
// What is handed out has secrets in it (an upload's address is one): they are sealed for the
// transfer before they are reported, and opened by the agent that needs them.
package provisioners
