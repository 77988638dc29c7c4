package pocketseg.demo

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapShader
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.RectF
import android.graphics.Shader
import android.util.AttributeSet
import android.view.View
import pocketseg.pixels.Size

/** Shows pixels that another thread hands over; what is transparent in them lies on a chequered ground. */
class PictureView(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    // Three, so that the one being written is neither shown nor still on its way to the GPU.
    private val bitmaps = arrayOfNulls<Bitmap>(3)
    private var shown = -1
    private val paint = Paint(Paint.FILTER_BITMAP_FLAG)
    private val chequered = Paint().apply { shader = chequers() }
    private val area = RectF()
    private var ground: Size? = null // of a picture that lies over this view
    var sizeChanged: (aspect: Double) -> Unit = {}

    /** Nothing but the ground under a picture of [size] that another view shows. */
    fun show(size: Size) {
        synchronized(this) {
            if (ground == size) return
            ground = size
        }
        postInvalidateOnAnimation()
    }

    /** From one other thread at a time. */
    fun show(pixels: IntArray, size: Size) {
        val next = synchronized(this) { (shown + 1) % bitmaps.size }
        var bitmap = bitmaps[next]
        if (bitmap == null || bitmap.width != size.width || bitmap.height != size.height) {
            bitmap = Bitmap.createBitmap(size.width, size.height, Bitmap.Config.ARGB_8888)
        }
        bitmap!!.setPixels(pixels, 0, size.width, 0, 0, size.width, size.height)
        synchronized(this) {
            bitmaps[next] = bitmap
            shown = next
            ground = null
        }
        postInvalidateOnAnimation()
    }

    override fun onSizeChanged(width: Int, height: Int, oldWidth: Int, oldHeight: Int) {
        if (width > 0 && height > 0) sizeChanged(width.toDouble() / height)
    }

    override fun onDraw(canvas: Canvas) {
        val (bitmap, size) = synchronized(this) { (if (shown < 0 || ground != null) null else bitmaps[shown]) to ground }
        val picture = size ?: Size(bitmap?.width ?: return, bitmap.height)
        val scale = minOf(width.toFloat() / picture.width, height.toFloat() / picture.height)
        val left = (width - picture.width * scale) / 2
        val top = (height - picture.height * scale) / 2
        area.set(left, top, left + picture.width * scale, top + picture.height * scale)
        canvas.drawRect(area, chequered)
        if (bitmap != null) canvas.drawBitmap(bitmap, null, area, paint)
    }

    private fun chequers(): BitmapShader {
        val side = (12 * resources.displayMetrics.density).toInt()
        val tile = Bitmap.createBitmap(2 * side, 2 * side, Bitmap.Config.ARGB_8888)
        for (y in 0 until 2 * side) for (x in 0 until 2 * side) tile.setPixel(x, y, if (x / side == y / side) Color.WHITE else 0xFFD5D9D7.toInt())
        return BitmapShader(tile, Shader.TileMode.REPEAT, Shader.TileMode.REPEAT)
    }
}
