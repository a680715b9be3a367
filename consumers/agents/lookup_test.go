package agents_test

import (
	"testing"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agents"
)

func TestAPartIsLookedUpInEveryRegistryThatGrantedAccess(t *testing.T) {
	r := agents.Lookup{}.Process(t.Context(), activity(`{"provider":"http://P/","globalAssetId":"urn:part:1","offers":[
		{"assetId":"a","edr":{"state":"GRANTED"}},{"assetId":"b","error":{"message":"refused"}},{"assetId":"c"}]}`))
	spawned := r.Spawned()
	if r.Err() != nil || len(spawned) != 2 || spawned[0].OnError != "continue" ||
		string(spawned[1].With) != `{"file":"c","connectorUrl":"http://p","as":"registry","properties":{"globalAssetId":"urn:part:1"}}` {
		t.Fatalf("got %+v, %v", spawned, r.Err())
	}
}

func TestWhatIsRequiredIsNotEmpty(t *testing.T) {
	nothing := `{"documents":[{"id":"n1","name":"lookup","output":{"value":""}}]`
	if _, r := aggregate(t, t.TempDir(), nothing+`}`); r.Kind() != agent.Completed {
		t.Fatal(r.Err())
	}
	if _, r := aggregate(t, t.TempDir(), nothing+`,"required":true}`); r.Kind() != agent.Failed {
		t.Fatalf("got %s", r.Output())
	}
}

func TestWithoutAnyRegistryNothingIsFound(t *testing.T) {
	r := agents.Lookup{}.Process(t.Context(), activity(`{"provider":"http://P/","globalAssetId":"urn:part:1","offers":[{"assetId":"b","error":{"message":"refused"}}]}`))
	if r.Kind() != agent.Failed {
		t.Fatalf("got %v", r)
	}
}
