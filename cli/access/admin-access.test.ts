import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { addGlobalOptions } from '../command/settings.ts'
import { homeAt, makeHome } from '../local/home.ts'
import { LocalState, writeLocalState } from '../local/local-state.ts'
import { ensureLocalSecrets } from '../local/secrets.ts'
import { addEdgeOption, adminOf, parseEdge } from './admin-access.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-access-'))
  await makeHome(homeAt(folder))
})

afterEach(() => rm(folder, { recursive: true }))

it.each([
  ['localhost:26000', /write http:\/\/localhost:26000 or/],
  ['127.0.0.1:26000', /write http:\/\/127.0.0.1:26000 or/],
  ['not an edge', /like https:\/\/quartet.example.com/],
])('an edge %s is refused with how to write it', (text, says) => {
  expect(() => parseEdge(text)).toThrow(says)
})

it('an edge is its origin', () => {
  expect(parseEdge('http://localhost:26000/')).toBe('http://localhost:26000')
})

/** A command that was given `--edge`, as commander hands it to an action. */
async function commandWith(edge: string): Promise<Command> {
  const program = addGlobalOptions(new Command('quartet'))
  const list = addEdgeOption(new Command('list')).action(() => undefined)
  await program.addCommand(list).parseAsync(['--home', folder, 'list', '--edge', edge], { from: 'user' })
  return list
}

it('the local edge, named, takes the local admin key; another one asks for its own', async () => {
  const asked: (string | undefined)[] = []
  const server = createServer(({ headers }, response) => {
    asked.push(headers.authorization)
    response.end('{"tenants": [], "last_id": null, "has_more": false}')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const edge = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  try {
    const state = { edge, node: edge, backbone: 'tiny', tenants: [] }
    await writeLocalState(homeAt(folder), LocalState.parse(state))
    const { adminKey } = await ensureLocalSecrets(homeAt(folder))
    await (await adminOf(await commandWith(`${edge}/`))).listTenants()
    expect(asked).toEqual([`Bearer ${adminKey}`])
    await expect(adminOf(await commandWith('https://quartet.example.com'))).rejects.toMatchObject({
      remedy: expect.stringMatching(/QUARTET_ADMIN_KEY/),
    })
  } finally {
    server.close()
  }
})
