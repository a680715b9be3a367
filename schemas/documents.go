package schemas

import (
	"bytes"
	_ "embed" // the documents
)

//go:embed openapi.json
var openAPI []byte

//go:embed asyncapi.json
var asyncAPI []byte

// OpenAPI returns the OpenAPI 3.1 document of the HTTP interface. The caller may change it.
func OpenAPI() []byte { return bytes.Clone(openAPI) }

// AsyncAPI returns the AsyncAPI 3.0 document of the topics. The caller may change it.
func AsyncAPI() []byte { return bytes.Clone(asyncAPI) }
