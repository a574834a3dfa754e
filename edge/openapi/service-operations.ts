import { z } from 'zod'
import { Heartbeat, HeartbeatResponse } from '../../shared/heartbeat.ts'
import { json, type Operation } from './operation.ts'

export const serviceOperations: readonly Operation[] = [
  {
    method: 'post',
    path: '/fleet/v1/heartbeat',
    id: 'heartbeat',
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
    tag: 'Service',
    summary: 'The edge is up',
    auth: 'none',
    answer: json('It is.', z.object({ status: z.literal('ok') })),
  },
  {
    method: 'get',
    path: '/openapi.json',
    id: 'getDocument',
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
    tag: 'Service',
    summary: 'This document as a page',
    auth: 'none',
    answer: { status: 200, description: 'HTML.', content: { 'text/html': z.string() } },
    revalidates: true,
  },
]
