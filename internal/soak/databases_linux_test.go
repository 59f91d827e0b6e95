package soak

import (
	"fmt"
	"os"
	"path/filepath"

	"signpost/internal/soak/traffic"
	"signpost/internal/testsql"
)

// databases are MariaDB with the virtual domains, and PostgreSQL with the data of the cluster.
type databases struct {
	domains *testsql.Server
	cluster *testsql.Server
	proxy   *testsql.Proxy // of cluster
	url     string         // of cluster, for the hosts
}

// startDatabases starts both, and fills the tables of domains and logins.
func (w *world) startDatabases() {
	w.Helper()
	d := &w.db
	d.cluster = testsql.PostgreSQL(w.T)
	d.proxy = d.cluster.Proxy(w.T)
	d.url = d.proxy.URL(d.cluster.Database())
	d.domains = testsql.MariaDB(w.T, "--max-connections=300")
	d.domains.Run("", "CREATE DATABASE mail; CREATE USER postfix IDENTIFIED BY 'secret'; GRANT SELECT ON mail.* TO postfix")
	d.domains.Run("mail", "CREATE TABLE domain (domain VARCHAR(255), host VARCHAR(10), ours TINYINT(1)); CREATE TABLE login (address VARCHAR(255), login VARCHAR(255))")
	for _, h := range w.hosts {
		for _, domain := range traffic.Reported() {
			d.domains.Run("mail", fmt.Sprintf("INSERT INTO domain VALUES ('%s', '%s', 0)", domain, h.Name))
		}
		for _, domain := range h.Domains {
			d.domains.Run("mail", fmt.Sprintf("INSERT INTO domain VALUES ('%s', '%s', 1)", domain, h.Name))
			for login, address := range traffic.Users(domain) {
				d.domains.Run("mail", fmt.Sprintf("INSERT INTO login VALUES ('%s', '%s')", address, login))
			}
		}
	}
	d.domains.Run("mail", fmt.Sprintf("INSERT INTO domain VALUES ('%s', '', 1)", noKey))
}

// table writes the file of a MySQL table of Postfix, and returns its name.
func (w *world) table(name, query string) string {
	w.Helper()
	file := filepath.Join(w.dir, name+".cf")
	must(w.T, os.WriteFile(file, fmt.Appendf(nil, "hosts = inet:%s\nuser = postfix\npassword = secret\ndbname = mail\nquery = %s\n", w.db.domains.Addr(), query), 0o644))
	return "mysql:" + file
}
