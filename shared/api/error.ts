import { z } from 'zod'
import { type ErrorCode, errorCodes } from '../errors.ts'
import { Usage } from './parameters.ts'

const codes = Object.keys(errorCodes).filter((code): code is ErrorCode => Object.hasOwn(errorCodes, code))

/** Every answer that is no success. */
export const ErrorBody = z.object({
  error: z.object({
    message: z.string(),
    /** In Anthropic's words under `/v1/messages`, where `type: error` and `request_id` stand beside `error`. */
    type: z.string(),
    /** The field at fault, in the client's own spelling. */
    param: z.string().nullable(),
    code: z.enum(codes),
  }),
})

/** The last event of a stream that broke off, with what it used so far. */
export const StreamError = ErrorBody.extend({ usage: Usage })
