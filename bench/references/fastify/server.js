// Fastify with pg: a worker for each core (node:cluster), schemas for what comes in, named statements, which pg
// prepares once for each connection, and JSON made by PostgreSQL. Rows through a response schema were tried as well:
// they took up to twice the time.
'use strict'

const cluster = require('node:cluster')
const fastify = require('fastify')
const { Pool } = require('pg')

const WORKERS = Number(process.env.WORKERS ?? 2)
const FIELDS = 'id, username, email, name, role, active, attributes, version, created_at, updated_at'
const page = (where) => `SELECT coalesce(json_agg(u), '[]')::text AS body FROM (
  SELECT ${FIELDS} FROM searchable_users ${where} ORDER BY created_at, id LIMIT 50) AS u`
const one = (from) => `SELECT row_to_json(u)::text AS body FROM (${from}) AS u`
const written = (statement) => `WITH u AS (${statement} RETURNING ${FIELDS}) SELECT row_to_json(u)::text AS body FROM u`
const STATEMENTS = {
  page: page(''),
  search: page("WHERE search @@ to_tsquery('simple', $1)"),
  show: one(`SELECT ${FIELDS} FROM searchable_users WHERE id = $1`),
  create: written('INSERT INTO searchable_users (username, email, name) VALUES ($1, $2, $3)'),
  change: written('UPDATE searchable_users SET name = $2, version = version + 1, updated_at = now() WHERE id = $1')
}

const text = { type: 'string' }
const params = { type: 'object', properties: { id: { type: 'string', format: 'uuid' } } }
const querystring = { type: 'object', properties: { q: text } }
const patch = { type: 'object', required: ['name'], properties: { name: text } }
const draft = {
  type: 'object',
  required: ['username', 'name'],
  properties: { username: text, email: { type: 'string', format: 'email' }, name: text }
}

function serve () {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL })
  const app = fastify()

  async function answer (reply, name, values, status = 200) {
    const { rows } = await pool.query({ name, text: STATEMENTS[name], values })
    if (rows.length === 0) return reply.code(404).send()
    return reply.code(status).type('application/json').send(rows[0].body)
  }

  app.get('/users', { schema: { querystring } }, ({ query }, reply) =>
    query.q === undefined ? answer(reply, 'page', []) : answer(reply, 'search', [`${query.q}:*`]))
  app.get('/users/:id', { schema: { params } }, (request, reply) =>
    answer(reply, 'show', [request.params.id]))
  app.post('/users', { schema: { body: draft } }, ({ body }, reply) =>
    answer(reply, 'create', [body.username, body.email, body.name], 201))
  app.patch('/users/:id', { schema: { params, body: patch } }, (request, reply) =>
    answer(reply, 'change', [request.params.id, request.body.name]))
  app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
}

if (cluster.isPrimary) {
  for (let worker = 0; worker < WORKERS; worker++) cluster.fork()
} else {
  serve()
}
