import { SignJWT } from 'jose'
import { expect, test } from 'vitest'
import { nodeTokenKey } from '../node-token.ts'
import { TrainerId } from './trainer-protocol.ts'
import { signTrainerToken, verifyTrainerToken } from './trainer-token.ts'

const key = nodeTokenKey('a secret of at least thirty-two bytes')
const call = { url: 'http://edge/fleet/v1/training/claim', method: 'POST' }
const trainer = TrainerId.parse('trainer-1')
const body = 'a'.repeat(64)

test('a trainer’s own token is taken', async () => {
  const token = await signTrainerToken(key, { ...call, trainer, body })
  expect(await verifyTrainerToken(key, { ...call, token })).toEqual({ trainer, body })
})

test.each([
  ['for a year', 0, 365 * 86_400],
  ['for a minute, but next year', 365 * 86_400, 60],
  ['for a second longer than trainers make them', 0, 61],
])('a token that is good %s is refused, genuine as it is', async (_name, from, seconds) => {
  const iat = Math.floor(Date.now() / 1000) + from
  const token = await new SignJWT({ call: 'POST /fleet/v1/training/claim', body })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(trainer)
    .setIssuer('quartet-trainer')
    .setAudience('quartet-edge/edge')
    .setIssuedAt(iat)
    .setExpirationTime(iat + seconds)
    .sign(key)
  await expect(verifyTrainerToken(key, { ...call, token })).rejects.toThrow(/lives too long/)
})
