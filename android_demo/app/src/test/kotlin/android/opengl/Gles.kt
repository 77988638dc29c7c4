package android.opengl

import com.sun.jna.Native
import com.sun.jna.Pointer
import java.nio.Buffer

/**
 * The JVM's tests run the app's own OpenGL code: these stand in front of Android's classes of the same names and call
 * Mesa, or whichever OpenGL ES 3 the machine has. What the app does not call is not here.
 */
@Suppress("unused")
object GLES20 {
    init {
        Native.register(GLES20::class.java, "GLESv2")
    }

    @JvmStatic external fun glActiveTexture(unit: Int)
    @JvmStatic external fun glAttachShader(program: Int, shader: Int)
    @JvmStatic external fun glBindFramebuffer(target: Int, frame: Int)
    @JvmStatic external fun glBindTexture(target: Int, texture: Int)
    @JvmStatic external fun glClear(mask: Int)
    @JvmStatic external fun glClearColor(red: Float, green: Float, blue: Float, alpha: Float)
    @JvmStatic external fun glCompileShader(shader: Int)
    @JvmStatic external fun glCreateProgram(): Int
    @JvmStatic external fun glCreateShader(type: Int): Int
    @JvmStatic external fun glDisable(what: Int)
    @JvmStatic external fun glDrawArrays(mode: Int, first: Int, count: Int)
    @JvmStatic external fun glEnable(what: Int)
    @JvmStatic external fun glFinish()
    @JvmStatic external fun glFramebufferTexture2D(target: Int, attachment: Int, kind: Int, texture: Int, level: Int)
    @JvmStatic external fun glGetError(): Int
    @JvmStatic external fun glGetString(name: Int): String?
    @JvmStatic external fun glGetUniformLocation(program: Int, name: String): Int
    @JvmStatic external fun glLinkProgram(program: Int)
    @JvmStatic external fun glPixelStorei(name: Int, value: Int)
    @JvmStatic external fun glReadPixels(x: Int, y: Int, width: Int, height: Int, format: Int, type: Int, to: Buffer)
    @JvmStatic external fun glScissor(x: Int, y: Int, width: Int, height: Int)
    @JvmStatic external fun glTexParameteri(target: Int, name: Int, value: Int)
    @JvmStatic external fun glTexSubImage2D(target: Int, level: Int, x: Int, y: Int, width: Int, height: Int, format: Int, type: Int, from: Buffer)
    @JvmStatic external fun glUniform1f(place: Int, x: Float)
    @JvmStatic external fun glUniform1i(place: Int, x: Int)
    @JvmStatic external fun glUniform2f(place: Int, x: Float, y: Float)
    @JvmStatic external fun glUniform2i(place: Int, x: Int, y: Int)
    @JvmStatic external fun glUniform3f(place: Int, x: Float, y: Float, z: Float)
    @JvmStatic external fun glUseProgram(program: Int)
    @JvmStatic external fun glViewport(x: Int, y: Int, width: Int, height: Int)

    // C's own signatures, and Android's on top of them.
    @JvmStatic private external fun glDeleteFramebuffers(count: Int, names: IntArray)
    @JvmStatic private external fun glDeleteTextures(count: Int, names: IntArray)
    @JvmStatic private external fun glGenFramebuffers(count: Int, names: IntArray)
    @JvmStatic private external fun glGenTextures(count: Int, names: IntArray)
    @JvmStatic private external fun glGetProgramiv(program: Int, name: Int, values: IntArray)
    @JvmStatic private external fun glGetShaderiv(shader: Int, name: Int, values: IntArray)
    @JvmStatic private external fun glGetProgramInfoLog(program: Int, room: Int, length: IntArray, text: ByteArray)
    @JvmStatic private external fun glGetShaderInfoLog(shader: Int, room: Int, length: IntArray, text: ByteArray)
    @JvmStatic private external fun glShaderSource(shader: Int, count: Int, texts: Pointer, lengths: IntArray)
    @JvmStatic private external fun glUniform1fv(place: Int, count: Int, values: FloatArray)

    @JvmStatic fun glDeleteFramebuffers(count: Int, names: IntArray, offset: Int) = glDeleteFramebuffers(count, names.drop(offset).toIntArray())

    @JvmStatic fun glDeleteTextures(count: Int, names: IntArray, offset: Int) = glDeleteTextures(count, names.drop(offset).toIntArray())

    @JvmStatic fun glGenFramebuffers(count: Int, names: IntArray, offset: Int) = into(names, offset) { glGenFramebuffers(count, it) }

    @JvmStatic fun glGenTextures(count: Int, names: IntArray, offset: Int) = into(names, offset) { glGenTextures(count, it) }

    @JvmStatic fun glGetProgramiv(program: Int, name: Int, values: IntArray, offset: Int) = into(values, offset) { glGetProgramiv(program, name, it) }

    @JvmStatic fun glGetShaderiv(shader: Int, name: Int, values: IntArray, offset: Int) = into(values, offset) { glGetShaderiv(shader, name, it) }

    @JvmStatic fun glGetProgramInfoLog(program: Int): String = text { length, bytes -> glGetProgramInfoLog(program, bytes.size, length, bytes) }

    @JvmStatic fun glGetShaderInfoLog(shader: Int): String = text { length, bytes -> glGetShaderInfoLog(shader, bytes.size, length, bytes) }

    @JvmStatic fun glShaderSource(shader: Int, source: String) {
        val bytes = source.toByteArray()
        val text = com.sun.jna.Memory(bytes.size.toLong()).apply { write(0, bytes, 0, bytes.size) }
        val list = com.sun.jna.Memory(Native.POINTER_SIZE.toLong()).apply { setPointer(0, text) }
        glShaderSource(shader, 1, list, intArrayOf(bytes.size))
    }

    @JvmStatic fun glUniform1fv(place: Int, count: Int, values: FloatArray, offset: Int) = glUniform1fv(place, count, values.drop(offset).toFloatArray())

    private fun into(values: IntArray, offset: Int, call: (IntArray) -> Unit) {
        val found = values.copyOfRange(offset, values.size)
        call(found)
        found.copyInto(values, offset)
    }

    private fun text(call: (IntArray, ByteArray) -> Unit): String {
        val (length, bytes) = IntArray(1) to ByteArray(4096)
        call(length, bytes)
        return String(bytes, 0, length[0])
    }
}

object GLES30 {
    init {
        Native.register(GLES30::class.java, "GLESv2")
    }

    @JvmStatic external fun glBlitFramebuffer(x0: Int, y0: Int, x1: Int, y1: Int, toX0: Int, toY0: Int, toX1: Int, toY1: Int, mask: Int, filter: Int)
    @JvmStatic external fun glTexStorage2D(target: Int, levels: Int, format: Int, width: Int, height: Int)
}
