/* Wine 8 has no bcryptprimitives.dll, and the standard library of Rust imports this one function of
   it. Wine's own source of random bytes is behind advapi32 (RtlGenRandom). */
#include <windows.h>

#define PIECE (1u << 30) /* bytes; RtlGenRandom counts in 32 bits */

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    while (length > 0) {
        ULONG piece = length < PIECE ? (ULONG)length : PIECE;
        if (!SystemFunction036(data, piece)) {
            return FALSE;
        }
        data += piece;
        length -= piece;
    }
    return TRUE;
}
