import { expect, it, vi } from 'vitest'
import { lastToFail } from './stack.ts'

function fleetOf(count: number) {
  const nodes = Array.from({ length: count }, (_, at) => {
    const { promise: failed, reject } = Promise.withResolvers<never>()
    const service = { name: `node-${at}`, failed, stop: () => Promise.resolve(), kill: () => {} }
    return { node: { id: `node-${at}`, url: `http://127.0.0.1:${9000 + at}` }, service, end: reject }
  })
  const ended = vi.fn()
  const stopping = new AbortController()
  const last = lastToFail(nodes, { ended, stopping: stopping.signal })
  return { nodes, ended, stopping, last }
}

it('a node that ends by itself is told of, with how many go on; the last one ends the stack', async () => {
  const { ended, last, nodes } = fleetOf(2)
  nodes[0]?.end(new Error('killed'))
  await vi.waitFor(() => expect(ended).toHaveBeenCalledWith(expect.objectContaining({ left: 1 })))
  nodes[1]?.end(new Error('killed too'))
  await expect(last).rejects.toThrow('killed too')
})

it('nodes that end because the stack was told to stop are no news', async () => {
  const { ended, last, nodes, stopping } = fleetOf(2)
  stopping.abort()
  for (const { end } of nodes) end(new Error('SIGTERM'))
  await expect(last).rejects.toThrow()
  expect(ended).not.toHaveBeenCalled()
})
