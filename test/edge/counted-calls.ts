import { app } from '../../edge/app.ts'
import { parseNodes } from '../../edge/fleet/nodes.ts'
import type { Bindings } from '../../edge/platform.ts'
import { type CountedBindings, countedBindings } from './counted-bindings.ts'

/**
 * The worker as it is, with its calls to KV and Durable Objects counted: `GET /bench/calls` answers how many, by binding.
 * `POST /bench/pass` hands its body on to the first node and the node's answer back, as the least that a worker can do.
 */

export * from '../../edge/index.ts'

let isolate: CountedBindings | undefined

export default {
  fetch(request, env, ctx) {
    isolate ??= countedBindings(env)
    const { pathname } = new URL(request.url)
    if (pathname === '/bench/calls') return Response.json(isolate.calls)
    if (pathname === '/bench/pass') return pass(request, env)
    return app.fetch(request, isolate.bindings, ctx)
  },
} satisfies ExportedHandler<Bindings>

async function pass(request: Request, env: Bindings): Promise<Response> {
  const [node] = parseNodes(env.QUARTET_NODES)
  const answer = await fetch(`${node?.url}/v1/generate`, { method: 'POST', body: await request.text() })
  return new Response(await answer.text())
}
