/** The same with nothing but Node: a bearer, one route, the same select, JSON. */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Pg from "pg"
import { poolSize, pointSelect } from "../Select.ts"
import { answerOf, type Options } from "./Answer.ts"

const options: Options = JSON.parse(process.argv[2] ?? "")
const pool = new Pg.Pool({ connectionString: options.databaseUrl, max: poolSize })
const route = /^\/v1\/users\/([^/]+)\/credentials\/([^/]+)\/secret$/

const server = createServer((request, response) => {
  const found = route.exec(request.url ?? "")
  if (request.headers.authorization !== `Bearer ${options.key}` || found === null) {
    return void response.writeHead(401).end()
  }
  pool
    .query(pointSelect, [found[1], found[2]])
    .then(({ rows }) =>
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answerOf(rows[0])))
    )
    .catch(() => response.writeHead(500).end())
}).listen(0, "127.0.0.1", () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
