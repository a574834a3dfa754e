import { z } from 'zod'
import { Heartbeat, HeartbeatResponse } from '../../../shared/heartbeat.ts'
import { json, type Operation } from '../../openapi/operation.ts'
import { heartbeat } from '../fleet-heartbeat.ts'
import { referenceOf } from '../reference.ts'
import type { Route } from './route.ts'

/** `operations` are all that the document describes, these among them. */
export function serviceRoutes(operations: () => readonly Operation[]): readonly Route[] {
  const { getOpenApi, getReference } = referenceOf(operations)
  return [
    {
      method: 'post',
      path: '/fleet/v1/heartbeat',
      id: 'heartbeat',
      handle: heartbeat,
      tag: 'Fleet',
      summary: 'A node says how it is',
      description: 'Signed with the secret that nodes and edges share: for one body, once.',
      auth: 'node',
      body: { json: Heartbeat },
      answer: json('What the registry made of it.', HeartbeatResponse),
      errors: ['conflict', 'node_unavailable'],
    },
    {
      method: 'get',
      path: '/',
      id: 'getRoot',
      handle: (c) => c.json({ docs: '/docs', openapi: '/openapi.json', api: '/v1' }),
      tag: 'Service',
      summary: 'Where to read on',
      auth: 'none',
      answer: json(
        'Paths of this edge.',
        z.object({ docs: z.literal('/docs'), openapi: z.literal('/openapi.json'), api: z.literal('/v1') }),
      ),
    },
    {
      method: 'get',
      path: '/health',
      id: 'health',
      handle: (c) => c.json({ status: 'ok' }),
      tag: 'Service',
      summary: 'The edge is up',
      auth: 'none',
      answer: json('It is.', z.object({ status: z.literal('ok') })),
    },
    {
      method: 'get',
      path: '/openapi.json',
      id: 'getDocument',
      handle: getOpenApi,
      tag: 'Service',
      summary: 'This document',
      auth: 'none',
      answer: {
        status: 200,
        description: 'OpenAPI 3.1.',
        content: { 'application/json': z.record(z.string(), z.unknown()) },
      },
      revalidates: true,
    },
    {
      method: 'get',
      path: '/docs',
      id: 'getReference',
      handle: getReference,
      tag: 'Service',
      summary: 'This document as a page',
      auth: 'none',
      answer: { status: 200, description: 'HTML.', content: { 'text/html': z.string() } },
      revalidates: true,
    },
  ]
}
