import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Home, homeAt, makeHome } from './home.ts'
import { joinLocalEdge } from './join-local-edge.ts'
import { LocalState, writeLocalState } from './local-state.ts'
import { ensureLocalSecrets } from './secrets.ts'

const edge = 'http://127.0.0.1:26000'
let home: Home

beforeEach(async () => {
  home = homeAt(await mkdtemp(join(tmpdir(), 'quartet-join-')))
  await makeHome(home)
})

afterEach(() => rm(home.folder, { recursive: true }))

const hasRun = async () => {
  const state = { edge, node: 'http://127.0.0.1:26001', backbone: 'tiny', tenants: [] }
  await writeLocalState(home, LocalState.parse(state))
  return (await ensureLocalSecrets(home)).nodeSecret
}

it('a node that is told nothing joins the home’s edge with its secret', async () => {
  const secret = await hasRun()
  expect(await joinLocalEdge(home, {})).toEqual({ edge, secret })
  expect(await joinLocalEdge(home, { edge: `${edge}/` })).toEqual({ edge, secret })
})

it('a node that has a secret, or another edge, takes nothing from the home', async () => {
  await hasRun()
  expect(await joinLocalEdge(home, { secret: 's'.repeat(32) })).toBeUndefined()
  expect(await joinLocalEdge(home, { edge: 'https://quartet.example.com' })).toBeUndefined()
})

it('a home on which nothing has run gives nothing', async () => {
  expect(await joinLocalEdge(home, {})).toBeUndefined()
  await ensureLocalSecrets(home)
  expect(await joinLocalEdge(home, {})).toBeUndefined()
})
