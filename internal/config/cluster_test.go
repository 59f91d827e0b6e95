package config

import (
	"fmt"
	"strings"
	"testing"
)

// A value of [cluster] that cannot work is an error that names what to write. No error and no output contains the password.
func TestCluster(t *testing.T) {
	for _, c := range []struct{ text, want string }{ // want: "" = valid
		{`database = "postgres://signpost:s3cret@db.example.org/signpost?sslmode=verify-full"`, ""},
		{`database = "postgres://signpost:s3cret@db1.example.org:5432,db2.example.org:5432/signpost?target_session_attrs=read-write"`, ""},
		{`database = "postgres://signpost@/signpost?host=/run/postgresql"`, ""},
		{`database = "mysql://signpost:s3cret%40@[2001:db8::1]:3306/signpost"`, ""},
		{`database = ""`, ""},
		{`database = "s3cret"`, "must be a URL with the scheme postgres or mysql"},
		{`database = "mariadb://u:s3cret@h/d"`, "must be a URL with the scheme postgres or mysql"},
		{`database = "mysql://u:s3cret/x@h/d"`, "is not a valid URL; write special characters of the password as %XX"},
		{`database = "mysql://u:s3cret#x@h/d"`, "is not a valid URL"},
		{`database = "mysql://u:s3cret%x@h/d"`, "is not a valid URL"},
		{`database = "mysql://h/s3cret"`, "has no user"},
		{`database = "mysql://u:s3cret@/d"`, "has no host"},
		{`database = "mysql://u:s3cret@h"`, "must have the name of one database"},
		{`database = "mysql://u:s3cret@h/a/b"`, "must have the name of one database"},
		{`database = 5`, "must be a string"},
		{`name = "mx1.example.org"`, ""},
		{`name = "a b"`, "letters, digits, hyphens"},
		{`name = "-a"`, "letters, digits, hyphens"},
		{`name = "` + strings.Repeat("a", 65) + `"`, "1 to 64"},
		{`key_file = "cluster.key"`, "must be an absolute path"},
		{`socket = "/` + strings.Repeat("a", 103) + `"`, "a socket path has at most 103 bytes"},
	} {
		conf, err := Parse("signpost.toml", []byte("[cluster]\n"+c.text+"\n"))
		if got := fmt.Sprint(err); (err != nil) != (c.want != "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
		if shown := fmt.Sprint(err); conf != nil {
			shown += fmt.Sprintf("%v %+v %#v", conf.Cluster, conf.Cluster, conf.Cluster)
			if strings.Contains(shown, "s3cret") {
				t.Errorf("%s: the password is shown: %s", c.text, conf.Cluster.Database)
			}
		} else if strings.Contains(shown, "s3cret") {
			t.Errorf("%s: the password is shown: %s", c.text, shown)
		}
	}
}

// Without a name in the configuration, the short host name is the name of the host.
func TestClusterName(t *testing.T) {
	conf, err := Parse("signpost.toml", []byte("[cluster]\nname = \"MX1\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := conf.ClusterName(); name != "mx1" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	if name, err := Default().ClusterName(); err == nil && (name == "" || strings.Contains(name, ".")) {
		t.Errorf("%q", name)
	}
}
